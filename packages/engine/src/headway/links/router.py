"""The router: each attempt goes to the link that its plugin's name asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from headway.ports import Delivery, Link


class Router:
    """A `ports.Link` made of links.

    links: by the plugin's exact name, or by the beginning of names when the key ends in ``*``; the longest
    key that fits decides.  default: takes all other plugins.
    """

    def __init__(self, links: Mapping[str, Link], default: Link) -> None:
        self._exact = {name: link for name, link in links.items() if not name.endswith("*")}
        prefixes = [(name[:-1], link) for name, link in links.items() if name.endswith("*")]
        self._prefixes = sorted(prefixes, key=lambda item: -len(item[0]))
        self._default = default

    def link(self, plugin: str) -> Link:
        """The link that calls of this plugin take."""
        found = self._exact.get(plugin)
        if found is not None:
            return found
        return next((link for start, link in self._prefixes if plugin.startswith(start)), self._default)

    def deliver(self, deliveries: Sequence[Delivery]) -> None:
        """Send these attempts, each on its link, in as few batches as there are links."""
        for link, batch in self._sorted(deliveries):
            link.deliver(batch)

    def stop(self, attempts: Sequence[str]) -> None:
        """Ask every link to abandon these attempts: an id does not tell whose it is."""
        links = [self._default, *self._exact.values(), *(link for _, link in self._prefixes)]
        for link in {id(link): link for link in links}.values():
            link.stop(attempts)

    def probe(self, deliveries: Sequence[Delivery]) -> None:
        """Ask what became of these attempts, each on its link."""
        for link, batch in self._sorted(deliveries):
            link.probe(batch)

    def _sorted(self, deliveries: Sequence[Delivery]) -> list[tuple[Link, list[Delivery]]]:
        batches: dict[int, tuple[Link, list[Delivery]]] = {}
        for delivery in deliveries:
            link = self.link(delivery.call.plugin)
            batches.setdefault(id(link), (link, []))[1].append(delivery)
        return list(batches.values())
