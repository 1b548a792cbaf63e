"""What a host consists of, to see that something left it alone."""

from tests.support import lab

# Salt's own cache and key files move while it looks; so do compiled Python files of its venv, and what the hub records
# every five minutes.
LISTING = r"""
find /etc /home /opt /srv /usr/local /usr/lib/systemd/system -xdev \
    \( -path /etc/salt -o -path /opt/salt -o -path /srv/stats -o -name __pycache__ -o -path '/home/*/.*' \) -prune -o \
    -type d -printf '%p d %m %U:%G\n' -o -printf '%p %y %m %U:%G %s %T@\n' | sort
ls -1 /var/lib | sed 's,^,/var/lib/,'
dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n'
systemctl list-unit-files --no-legend --no-pager | grep -v ' transient '
"""


def of(host: str) -> set[str]:
    """Lines for files, packages and unit files of a host."""
    return set(lab.shell(host, LISTING).splitlines())


def of_all() -> dict[str, set[str]]:
    return {host: of(host) for host in lab.hosts()}


def differences(before: dict[str, set[str]], after: dict[str, set[str]]) -> list[str]:
    """`host: line` of everything that came, went or changed."""
    return [f"{host}: {line}" for host in before for line in sorted(before[host] ^ after[host])]
