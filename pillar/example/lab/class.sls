# The class that `make up` builds: the production states, with what only a lab needs.
{% import_yaml "hosts.yaml" as hosts %}
classhub:
  domain: class.test
  course:
    id: intro
    title: Introduction to Data Science (lab)
    timezone: Europe/Paris
  hosts: {{ hosts | json }}
  storage:
    driver: shared        # the lab's hosts share a volume on /home; its kernel may have no NFS
  backup:
    repository: /srv/backup/class   # a volume of the lab's machine, which outlives the hub
    password: lab
  hub:
    authenticator: lab
    lab_password: lab
  proxy:
    sign_in_rate: 120
    sign_in_burst: 40     # few enough for a test to reach
