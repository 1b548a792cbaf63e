# The student image, on a node: loaded from the class's store once the hub offers it, and reported to the hub, which
# starts no server from an image before every living node has it.
# Needs: engine, storage.
{%- set classhub = pillar["classhub"] %}
{%- set image = classhub["image"] %}
include:
  - engine
  - storage
  {%- if "hub" in classhub["roles"] %}
  - image.built
  {%- endif %}

{%- if image["reference"] %}

Image on the node is there:
  classhub_image.pulled:
    - name: {{ image["reference"] | json }}
    - require:
      - classhub_service: Engine service is running
{%- else %}

Image on the node is there:
  classhub_image.loaded:
    - name: student
    - recipe: {{ image["recipe"] | json }}
    - hub: {{ classhub["hub_host"]["id"] | json }}
    - wait: {{ image["wait"] }}
    - require:
      - classhub_service: Engine service is running
      {%- if "hub" in classhub["roles"] %}
      - classhub_mine: Image is offered to the nodes
      {%- else %}
      - classhub_filesystem: Storage is the class's filesystem
      {%- endif %}
{%- endif %}

Image on the node is reported:
  classhub_mine.published:
    - name: classhub_images
    - function: classhub_image.held
    - readers: [{{ classhub["hub_host"]["id"] | json }}]
    - require:
      - classhub_image: Image on the node is there
