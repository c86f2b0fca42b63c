"""``bob bio recon train``: the attack's decoder, from prepared faces."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import click

from . import _options
from ._stoppable import Stoppable

_DECODERS = Path(__file__).parents[1] / "decoders"


def _decoders() -> list[str]:
    """Names of the decoders: those of their files, none of which is loaded."""
    names = (module.name for module in pkgutil.iter_modules([str(_DECODERS)]))
    return sorted(name for name in names if not name.startswith("_"))


@click.command(
    cls=Stoppable,
    kept="What was learned is kept in {output}: the same command goes on from there.",
)
@click.argument("data", nargs=-1, required=True, type=click.Path())
@click.option(
    "--output", "-o", required=True, type=click.Path(file_okay=False), help="Folder to fill."
)
@click.option(
    "--preset",
    type=click.Choice(["icip2022", "tifs2024", "best", "prior"]),
    help="Losses, rates, batches. Default: that of the decoder, best or, for generator, prior.",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    callback=_options.pairs_like("NAME=VALUE", "; as in --set sampled=8"),
    metavar="NAME=VALUE",
    help="Change one part of the preset: a field (batch_size, epochs, learning_rate, "
    "beta2, halve_every, warmup_steps, sampled, pixel_share, mirror, jitter, ema, departure, "
    "draft_share) or the weight of a loss term (mse, mae, dssim, perceptual, identity, "
    "identity_cosine; 0 takes it out).",
)
@click.option(
    "--decoder",
    type=click.Choice(_decoders()),
    default="dscasconv",
    show_default=True,
    help="dscasconv: the network of the paper. nbnet: an earlier one. generator: photographs, by a "
    "generator of faces (needs the package random-face). linear: the closed-form baseline.",
)
@click.option(
    "--width",
    type=click.FloatRange(0, 4, min_open=True),
    default=1.0,
    show_default=True,
    help="Multiplier on the channels of dscasconv and nbnet (of nbnet, 0.625 is about as large as "
    "0.4375 of dscasconv).",
)
@click.option("--alpha", default=0.3, show_default=True, help="Ridge penalty a face, of linear.")
@click.option(
    "--start-from",
    type=click.Path(),
    help="Decoder to start from, of any recognition model: a linear map joins the two.",
)
@click.option(
    "--judge",
    metavar="NAME",
    help="Recognition model whose gradients train the decoder: the black box, of which an "
    "attacker has embeddings and a proxy's gradients, or with `none` nothing but pixels. "
    "Default: the model of DATA itself, the white box.",
)
@click.option(
    "--leak",
    type=click.Path(),
    metavar="FILE",
    help="Python file with `leak = [...]`, as before `recon` in a chain: the decoder learns from "
    "templates as an attacker gets them, for instance estimated from protected ones.",
)
@click.option("--steps", type=click.IntRange(1), help="Length; default: the preset's epochs.")
@click.option(
    "--every",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Steps between two validations, each with a checkpoint and a picture.",
)
@click.option(
    "--patience",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Validations without progress after which the training stops; 0: never.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto")
@click.option(
    "--devices", type=click.IntRange(1), default=1, show_default=True, help="How many GPUs."
)
@click.option(
    "--precision",
    type=click.Choice(["auto", "32-true", "bf16-mixed", "16-mixed"]),
    default="auto",
    show_default=True,
    help="auto: bf16-mixed on a GPU that has it, else 32-true.",
)
@click.option(
    "--vgg16",
    type=click.Path(),
    help="Copy of torchvision's vgg16-397923af.pth, for the perceptual term of tifs2024; "
    "without it the file is downloaded (528 MB).",
)
@click.option(
    "--vgg16-layers",
    default="relu1_2,relu2_2,relu3_3,relu4_3",
    show_default=True,
    help="Which activations the perceptual term compares.",
)
@click.option("--force", is_flag=True, help="Replace another training in the output folder.")
def train(
    data: tuple[str, ...],
    output: str,
    preset: str | None,
    settings: dict[str, str],
    decoder: str,
    alpha: float,
    start_from: str | None,
    vgg16: str | None,
    vgg16_layers: str,
    leak: str | None,
    force: bool,
    **plan: object,
) -> None:
    """Train the decoder that turns templates of a recognition model back into faces.

    DATA are folders of `bob bio recon prepare`, one or several for the same recognition model.
    One face in twenty is held out, and the decoder kept is the best on those. Running the same
    command again continues where it stopped. OUTPUT/samples shows reconstructions.

    \b
    Synthetic faces, a decoder for arcface-mbf, then the attack with it:
        bob bio recon synthesize -n 3000 -o faces
        bob bio recon prepare faces --recognizer arcface-mbf -o data
        bob bio recon train data --width 0.5 -o trained
        bob config set bob_recon_plugin.decoders.arcface-mbf trained/decoder.safetensors
        bob bio pipeline simple recon-lfw-view2 arcface-mbf recon -o results

    \b
    A black box: embeddings of arcface-mbf, gradients of edgeface-s (recon-attack-3, -4, -5):
        bob bio recon train data --judge edgeface-s -o black-box

    \b
    Photographs, by a generator of faces (pip install --no-deps random-face==2021.7.21.1):
        bob bio recon train data --decoder generator -o photographs

    \b
    The loss of the paper with another weight of its identity term:
        bob bio recon train data --preset icip2022 --set identity=0.1 -o icip
    """
    from bob_recon_plugin.decoders import DECODERS
    from bob_recon_plugin.faces.dataset import open_datasets
    from bob_recon_plugin.training import presets
    from bob_recon_plugin.training.leaked_templates import read_leak
    from bob_recon_plugin.training.run import Plan, fit
    from bob_recon_plugin.training.run import train as run

    kind = DECODERS[decoder]
    _refuse_unused(decoder, kind.closed_form)
    preset = preset or kind.preset
    dataset = open_datasets(data)
    if kind.closed_form:
        path = fit(dataset, Path(output), decoder, alpha, force)
    else:
        path = run(
            dataset,
            Path(output),
            Plan(
                preset,
                presets.get(preset, settings),
                start=Path(start_from) if start_from else None,
                vgg16=Path(vgg16) if vgg16 else None,
                vgg16_layers=tuple(vgg16_layers.split(",")),
                decoder=decoder,
                leak=read_leak(leak) if leak else (),
                **plan,  # type: ignore[arg-type]
            ),
            force,
        )
    click.echo(f"{path}")


def _refuse_unused(decoder: str, closed_form: bool) -> None:
    """Refuse options on the command line that a decoder of this kind does not use."""
    from click.core import ParameterSource

    from bob_recon_plugin.common.validation import InputError

    context = click.get_current_context()
    own = {"alpha"}
    for parameter in context.command.params:
        name = str(parameter.name)
        used = name in own if closed_form else name not in own
        if name in ("data", "output", "decoder", "force") or used:
            continue
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            how = "is solved in closed form" if closed_form else "is trained step by step"
            raise InputError(
                f"`{parameter.opts[0]}` must be left out for --decoder {decoder}, which {how}, got "
                f"{context.params[name]!r}."
            )
