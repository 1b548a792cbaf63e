# A campus class: homes over NFS, an image from the campus's registry, half the memory reserved, names of the campus's
# ranges kept clear of, and sign-in with GitHub. The client secret of a real class is in pillar/secrets/hub.sls.
{% import_yaml "hosts.yaml" as hosts %}
classhub:
  domain: class.example.edu
  course:
    id: data101
    title: Introduction to Data Science
    timezone: America/Chicago
  hosts: {{ hosts | json }}
  engine:
    bip: 10.255.0.1/24
    address_pools:
      - {base: 10.254.0.0/16, size: 24}
  storage:
    driver: nfs
  image:
    reference: registry.example.edu/classhub/student@sha256:0000000000000000000000000000000000000000000000000000000000000000
  backup:
    repository: s3:https://objects.example.edu/class-backup
    password: an-example-and-no-password
    environment: {AWS_ACCESS_KEY_ID: example, AWS_SECRET_ACCESS_KEY: an-example-and-no-key}
  server:
    memory: 2G
    memory_guarantee: 1G
    cpus: 2
  hub:
    authenticator: github
    github:
      client_id: Iv1.0123456789abcdef
      client_secret: not-a-secret-but-an-example
    active_server_limit: 250
