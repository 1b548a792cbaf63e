# The image of nginx, built on the proxy host from the class's base image.
# Needs: engine.
{%- set classhub = pillar["classhub"] %}
{%- set context = "/var/lib/classhub/image/nginx" %}
include:
  - engine

Proxy image recipe is there:
  file.recurse:
    - name: {{ context }}
    - source: salt://proxy/files/image
    - user: root
    - group: root
    - dir_mode: "0755"
    - file_mode: "0644"

Proxy image is built:
  classhub_image.built:
    - name: nginx
    - context: {{ context }}
    - recipe: {{ classhub["proxy"]["recipe"] | json }}
    - base: {{ classhub["image"]["base"] | json }}
    - base_archive: {{ classhub["image"]["base_archive"] | json }}
    - require:
      - classhub_service: Engine service is running
      - file: Proxy image recipe is there
