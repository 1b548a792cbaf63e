# The class's front door: nginx in a container, with TLS, limits on sign-in and an outage page.
# Needs: common, engine.
include:
  - proxy.image
  - proxy.certificate
  - proxy.config
  - proxy.authority
  - proxy.service
  - proxy.acme
  - proxy.watch
