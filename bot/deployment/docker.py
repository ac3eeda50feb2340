"""The files of a container: its Dockerfile with all that this copies, and a compose file."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bot.deployment.files import DeployedFile, text_file
from bot.deployment.package import ShoalPackage
from bot.deployment.shipped import shipped_watchlists
from templates.plain_text import render_plain

PORT = 8400


@dataclass(frozen=True)
class Image:
    """An image of shoal.

    backend: the builds of PyTorch, as uv's --torch-backend names them: "cpu", "cu128", … constraints: a pip constraints
    file. shipped: the watchlists' files. paths: the watchlists.
    """

    package: ShoalPackage
    constraints: str
    backend: str
    shipped: dict[str, DeployedFile]
    paths: Sequence[Path]

    def files(
        self, command: str, start: Sequence[str], *, port: int, exposed: bool, volume: bool
    ) -> dict[str, DeployedFile]:
        """The Dockerfile and all that it copies.

        command: what writes it. start: the container's command. exposed: whether others reach the page at the port.
        volume: whether the home is on one.
        """
        dockerfile = render_plain(
            "deployment/Dockerfile.j2",
            command=command,
            python=f"{sys.version_info.major}.{sys.version_info.minor}",
            needs_git=self.package.needs_git,
            wheel=self.package.wheel is not None,
            requirement=self.package.requirement,
            backend=self.backend,
            port=port,
            exposed=exposed,
            volume=volume,
            start=json.dumps(list(start)),
        )
        files = {
            "Dockerfile": text_file(dockerfile),
            ".dockerignore": text_file(render_plain("deployment/dockerignore.j2")),
            "constraints.txt": text_file(self.constraints),
            **self.shipped,
        }
        if self.package.wheel is not None:
            name, content = self.package.wheel
            files[f"wheels/{name}"] = DeployedFile(content)
        return files


def docker_files(image: Image, *, exposed: bool) -> dict[str, DeployedFile]:
    """The files of a container for one's own machine. exposed: whether the page is reachable from outside."""
    place = f"0.0.0.0:{PORT}" if exposed else str(PORT)
    start = ["shoal", "serve", "--page", place, *shipped_watchlists(image.paths)]
    compose = render_plain("deployment/compose.yaml.j2", port=PORT, exposed=exposed, gpu=image.backend != "cpu")
    secrets = render_plain("deployment/shoal.env.j2", reader="docker compose")
    return image.files("docker", start, port=PORT, exposed=exposed, volume=True) | {
        "compose.yaml": text_file(compose),
        "shoal.env": text_file(secrets, secret=True),
    }
