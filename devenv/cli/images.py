"""Verbs about images of the store: images, save."""

from __future__ import annotations

import os
import sys
import time
from typing import Annotated

import typer

from devenv import console
from devenv.cli import complete, document, options, show
from devenv.cli.known import find_image
from devenv.cli.session import Session


def register(app: typer.Typer) -> None:
    """Add this group's verbs."""
    app.command()(images)
    app.command()(save)


def images(context: typer.Context, as_json: options.Json = False) -> None:
    """List the images of the store, the newest first.

    Example:  devenv images --json
    """
    session: Session = context.obj
    found = session.observer().images()
    if as_json:
        console.json(document.images(found), sys.stdout)
    else:
        show.images(found, time.time(), session.env)


def save(
    context: typer.Context,
    image: Annotated[
        str,
        typer.Argument(metavar="IMAGE", help="Its name or digest.", autocompletion=complete.images),
    ],
    target: Annotated[
        str,
        typer.Argument(metavar="FOLDER|FILE.tar", help="Where to write it.", autocompletion=complete.files),
    ],
) -> None:
    """Write an image to an OCI image layout, for other tools and other machines, and print its digest.

    FOLDER is a new one, or a layout that gets the image besides those it has. FILE.tar is the same as one file, which is
    replaced. Every layer is checked on its way.

    Example:  devenv save shop:dev shop.tar

    Example:  devenv save shop:dev images && skopeo copy oci:images:shop:dev docker-daemon:shop:dev
    """
    session: Session = context.obj
    machine = session.machine()
    found = find_image(machine.engine, image)
    name = image if image in found.references else (*found.references, found.digest[7:19])[0]
    machine.workshop.export(found.digest, os.path.join(session.folder, target), name)
    print(found.digest)
