"""What JupyterHub takes for its proxy where a test reaches hub and servers without one. For the hub's own process."""

from jupyterhub.proxy import Proxy


class NoProxy(Proxy):
    """Remembers its routes, and leads nowhere."""

    should_start = False

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.routes: dict[str, dict] = {}

    async def add_route(self, routespec: str, target: str, data: dict) -> None:
        self.routes[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        self.routes.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict]:
        return self.routes
