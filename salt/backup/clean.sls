# Takes the backup off the hub: timers, settings and what they remember. The repository and what is in it stay.
{%- for name in ["classhub-backup", "classhub-backup-drill", "classhub-backup-prune"] %}
Backup timer {{ name }} is stopped:
  service.dead:
    - name: {{ name }}.timer
    - enable: False

Backup units of {{ name }} are absent:
  file.absent:
    - names:
      - /etc/systemd/system/{{ name }}.timer
      - /etc/systemd/system/{{ name }}.service
    - require:
      - service: Backup timer {{ name }} is stopped
{% endfor %}
Backup settings are absent:
  file.absent:
    - names:
      - /etc/systemd/system/classhub-backup-failed@.service
      - /etc/classhub/backup
      - /var/cache/classhub-backup
