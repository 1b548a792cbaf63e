# The student image, on the hub: built once for each recipe, put into the class's store and offered to the nodes.
# Needs: engine, storage. An image from a registry (image:reference) needs nothing of this.
{%- set classhub = pillar["classhub"] %}
{%- set image = classhub["image"] %}
{%- set context = "/var/lib/classhub/image/student" %}
include:
  - engine
  - storage

{%- if not image["reference"] %}

Image store is there:
  file.directory:
    - name: {{ image["store"] | json }}
    - user: root
    - group: root
    - mode: "0755"
    - makedirs: True
    - require:
      - classhub_filesystem: Storage marker is on the filesystem

Image recipe is there:
  file.recurse:
    - name: {{ context }}
    - source: salt://image/files/student
    - user: root
    - group: root
    - dir_mode: "0755"
    - file_mode: "0644"

Image trusts the site's authorities:
  file.managed:
    - name: {{ context }}/site-ca.pem
    - contents: {{ classhub["site"]["ca_bundle"] | json }}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True

Image of the recipe is built:
  classhub_image.built:
    - name: student
    - context: {{ context }}
    - recipe: {{ image["recipe"] | json }}
    - base: {{ image["base"] | json }}
    - base_archive: {{ image["base_archive"] | json }}
    - build_args:
        PACKAGES: {{ image["packages"] | join(" ") | json }}
        STACK: {{ image["stack"] | join(" ") | json }}
    - store: {{ image["store"] | json }}
    - require:
      - classhub_service: Engine service is running
      - file: Image store is there
      - file: Image recipe is there
      - file: Image trusts the site's authorities

Image is offered to the nodes:
  classhub_mine.published:
    - name: classhub_image
    - function: classhub_image.published
    - readers: {{ classhub["nodes"] | list | json }}
    - require:
      - classhub_image: Image of the recipe is built
{%- endif %}
