# Takes the class's firewall off the host: everybody reaches every port again. Other tables of nftables stay as they are.
Firewall is stopped:
  service.dead:
    - name: classhub-firewall
    - enable: False

Firewall files are absent:
  file.absent:
    - names:
      - /etc/systemd/system/docker.service.d/classhub-firewall.conf
      - /etc/systemd/system/classhub-firewall.service
      - /etc/classhub/firewall.nft
    - require:
      - service: Firewall is stopped
