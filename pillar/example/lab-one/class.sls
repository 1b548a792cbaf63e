# The small class that `make up HOSTS=one` builds.
{% import_yaml "hosts.yaml" as hosts %}
classhub:
  domain: class.test
  course:
    id: intro
    title: Introduction to Data Science (lab)
    timezone: Europe/Paris
  hosts: {{ hosts | json }}
  storage:
    driver: local
  hub:
    authenticator: lab
    lab_password: lab
  proxy:
    sign_in_rate: 120
    sign_in_burst: 40     # few enough for a test to reach
