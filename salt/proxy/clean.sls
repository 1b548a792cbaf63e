# Removes the proxy from a host: the unit, the container, the settings and the certificate. The image stays.
Proxy service is stopped:
  service.dead:
    - name: nginx-container
    - enable: False

Proxy renewal is stopped:
  service.dead:
    - name: classhub-renewal.timer
    - enable: False

Proxy service is gone:
  file.absent:
    - names:
      - /etc/systemd/system/classhub-renewal.timer
      - /etc/systemd/system/classhub-renewal.service
      - /etc/classhub/acme
      - /var/lib/classhub/acme
      - /etc/systemd/system/nginx-container.service
      - /etc/classhub/nginx-container.env
      - /etc/classhub/nginx
    - require:
      - service: Proxy service is stopped
      - service: Proxy renewal is stopped
