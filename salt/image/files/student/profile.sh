# Terminals are login shells, and /etc/profile forgets the image's PATH.
PATH="/opt/jupyter/bin:$HOME/.local/bin:$PATH"
