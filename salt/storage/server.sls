# The hub's side of the class's filesystem: the marker that proves it to the nodes, and with driver nfs the export.
# Needs: common. With driver shared, /home must be mounted already.
{%- set classhub = pillar["classhub"] %}
{%- set storage = classhub["storage"] %}
{%- set clients = classhub["nodes"] | dictsort | rejectattr(0, "equalto", classhub["id"]) | list %}
include:
  - check

Storage marker is on the filesystem:
  classhub_filesystem.marked:
    - name: /home
    - mounted: {{ storage["driver"] == "shared" }}

Storage marker is published to the nodes:
  classhub_mine.published:
    - name: classhub_filesystem
    - function: classhub_filesystem.marker
    - readers: {{ clients | map("first") | list | json }}
    - require:
      - classhub_filesystem: Storage marker is on the filesystem

{%- if storage["driver"] == "nfs" and clients %}

Storage server package is installed:
  pkg.installed:
    - name: nfs-kernel-server

Storage exports are written:
  file.managed:
    - name: /etc/exports.d/classhub.exports
    - contents: |
        # classhub: homes for the class's nodes alone
        {%- for _, address in clients %}
        /home {{ address }}(rw,sync,root_squash,no_subtree_check,sec=sys)
        {%- endfor %}
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - require:
      - pkg: Storage server package is installed

Storage server speaks NFS 4 alone:
  file.managed:
    - name: /etc/nfs.conf.d/classhub.conf
    - contents: |
        # classhub: one protocol, one port to guard; rpc.mountd listens unless version 2 is named, too
        [nfsd]
        vers2=n
        vers3=n
        vers4=y
        threads=32
    - user: root
    - group: root
    - mode: "0644"
    - makedirs: True
    - require:
      - pkg: Storage server package is installed

Storage server is running:
  classhub_service.running:
    - name: nfs-server
    - reads: [/etc/nfs.conf.d/classhub.conf]
    - require:
      - classhub_filesystem: Storage marker is on the filesystem
      - file: Storage server speaks NFS 4 alone

Storage exports are current:
  cmd.run:
    - name: exportfs -ra
    - unless: test /var/lib/nfs/etab -nt /etc/exports.d/classhub.exports
    - require:
      - file: Storage exports are written
      - classhub_service: Storage server is running
{%- endif %}
