# The hub: manager of the swarm, home of the accounts, builder of the image, place of the course, JupyterHub with its
# proxy, and the backup of all that. Needs: common, engine, storage. Starts without the image: students are told that it
# is not ready yet.
include:
  - hub.swarm
  - hub.authority
  - hub.users
  - hub.probe
  - hub.logins
  - hub.image
  - hub.packages
  - hub.account
  - hub.venv
  - hub.package
  - course
  - hub.config
  - hub.proxy
  - hub.tls
  - hub.service
  - hub.activity
  - hub.disk
  - backup
