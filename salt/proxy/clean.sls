# Removes the proxy from a host: the unit, the container, the settings and the certificate. The image stays.
Proxy service is stopped:
  service.dead:
    - name: nginx-container
    - enable: False

Proxy service is gone:
  file.absent:
    - names:
      - /etc/systemd/system/nginx-container.service
      - /etc/classhub/nginx-container.env
      - /etc/classhub/nginx
    - require:
      - service: Proxy service is stopped
