{#- A node says that something happened to a student's server. Nothing of what it says is used: all nodes are asked, over
    a connection that the master began. #}
What happened on the nodes is brought to the hub:
  runner.classhub.pull_activity: []
