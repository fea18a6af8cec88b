"""An image config and a step → the image config after it. Pure; Docker's rules."""

from __future__ import annotations

from devenv.model.build import Configure, Step, Workdir
from devenv.model.image import ImageConfig
from devenv.model.manifest import Pairs

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SHELL = ("/bin/sh", "-c")
SCRATCH = ImageConfig(env=(("PATH", PATH),), workdir="/")
"""What FROM scratch starts with."""


def configure(config: ImageConfig, step: Step) -> ImageConfig:
    """The config after a step; RUN and COPY change nothing.

    ENTRYPOINT with an empty cmd takes an inherited CMD away: graph() adds that when the stage itself had no CMD before.
    """
    operation = step.operation
    if isinstance(operation, Workdir):
        return config._replace(workdir=operation.path)
    if not isinstance(operation, Configure):
        return config
    cmd = config.cmd if operation.cmd is None else operation.cmd
    if operation.entrypoint is not None and operation.cmd == ():
        cmd = None
    return config._replace(
        env=merge(config.env, operation.env),
        user=config.user if operation.user is None else operation.user,
        labels=merge(config.labels, operation.labels),
        entrypoint=config.entrypoint if operation.entrypoint is None else operation.entrypoint,
        cmd=cmd,
        exposed=tuple(sorted({*config.exposed, *operation.exposed})),
        volumes=tuple(sorted({*config.volumes, *operation.volumes})),
        stop_signal=config.stop_signal if operation.stop_signal is None else operation.stop_signal,
        healthcheck=config.healthcheck if operation.healthcheck is None else operation.healthcheck,
        shell=config.shell if operation.shell is None else operation.shell,
    )


def merge(first: Pairs, second: Pairs) -> Pairs:
    """`first` with the values of `second`; a name keeps its first place."""
    return tuple({**dict(first), **dict(second)}.items())
