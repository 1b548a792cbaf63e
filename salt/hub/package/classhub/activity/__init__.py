"""Who uses the class, when and on which node: recorded from the nodes' events and from JupyterHub, and asked."""
