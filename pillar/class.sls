# This class. Every key is explained in salt/defaults.yaml; whole examples are in pillar/example/.
{% import_yaml "hosts.yaml" as hosts %}
classhub:
  domain: class.example.edu
  course:
    id: intro
    title: Introduction to Data Science
    timezone: America/Chicago
  hosts: {{ hosts | json }}
