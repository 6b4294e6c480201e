"""``lading templates``: what a processing-container offers, before anything is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from lading.cli import loop, printing
from lading.cli.knobs import Given, engine_options, flags
from lading.cli.run_options import Pull
from lading.settings import EngineOptions, state_directory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lading.contracts.processing.template import (
        IOMount,
        ProcessingContainer,
        Resources,
        TaskTemplate,
        TaskTemplateEnv,
    )

commands = typer.Typer(rich_markup_mode=None)


@commands.command()
@flags(EngineOptions, into="engine")
def templates(
    *,
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image's name.")],
    pull: Annotated[
        Pull, typer.Option("--pull", help="When the image is fetched from its registry.")
    ] = Pull.MISSING,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
    engine: Given,
) -> None:
    """Show what a processing-container offers.

    Its templates, each with channels, variables (with their choices), command and resources; and
    the command that runs it. Nothing of the image is executed.
    """
    options = engine_options(engine)

    async def main(_signals: loop.Signals) -> ProcessingContainer:
        from lading.cli.images import fetch  # noqa: PLC0415
        from lading.cli.run_processing import ours  # noqa: PLC0415
        from lading.contracts.processing.image import offered_by  # noqa: PLC0415
        from lading.engine.discovery import open_engine  # noqa: PLC0415

        state = state_directory()
        async with await open_engine(options) as opened:
            with ours(state) as (owner, _):
                found = await fetch(opened, image, pull)
                offer, warnings = await offered_by(
                    opened, found, name=image, state=state, labels=owner.labels()
                )
        for warning in warnings:
            printing.warn(warning)
        return offer

    offer = loop.run(main)
    if as_json:
        printing.json(offer.model_dump(mode="json"))
        return
    printing.line(f"{offer.name}: {offer.description}".rstrip(": "))
    for template in offer.templates:
        for text in ("", *_described(template), *_command(image, template)):
            printing.line(text)


def _described(template: TaskTemplate) -> Iterator[str]:
    yield template.identifier
    if template.description:
        yield f"  {template.description}"
    for title, channels in (("inputs", template.inputs), ("outputs", template.outputs)):
        yield from _block(title, [_channel(channel) for channel in channels])
    yield from _block("variables", [_variable(variable) for variable in template.env])
    if template.command is not None:
        yield from _block("command", [(" ".join(template.command), "")])
    if template.resources is not None:
        yield from _block("resources", _resources(template.resources))


def _block(title: str, rows: list[tuple[str, str]]) -> Iterator[str]:
    if rows:
        yield f"  {title}:"
        width = max(len(name) for name, _ in rows)
        for name, text in rows:
            yield f"    {name:<{width}}  {text}".rstrip()


def _channel(channel: IOMount) -> tuple[str, str]:
    text = f"at {channel.mounted_path}"
    if channel.description:
        text += f": {channel.description}"
    rule = channel.scale_rule
    if rule is not None:
        factor = rule.complexity or f"{rule.scale_factor:g}*n"
        of = {"sum": "all its files", "max_file_size": "its largest file"}
        size = of.get(rule.mode.value, "its largest item")
        text += f" (memory {rule.type.value} grows as {factor}, n the size of {size})"
    return channel.name, text


def _variable(variable: TaskTemplateEnv) -> tuple[str, str]:
    parts = [variable.description or ""]
    if variable.type:
        parts.append(variable.type)
    if variable.choices:
        parts.append(f"one of {', '.join(variable.choices)}")
    if variable.adjustable is False:
        parts.append("not meant to be changed")
    return f"{variable.name}={variable.value}", "; ".join(part for part in parts if part)


def _resources(resources: Resources) -> list[tuple[str, str]]:
    amounts: dict[str, Any] = {"limits": resources.limits, "requests": resources.requests}
    return [
        (kind, ", ".join(f"{name} {amount}" for name, amount in given.items()))
        for kind, given in amounts.items()
        if given
    ]


def _command(image: str, template: TaskTemplate) -> Iterator[str]:
    words = [f"lading run {image} --template {template.identifier}"]
    words += [f"--input {channel.name}=DIR" for channel in template.inputs]
    words += [f"--output {channel.name}=DIR" for channel in template.outputs]
    yield "  run it:"
    yield f"    {' '.join(words)}"
