"""The base images: the official ones, or stand-ins made from Debian's packages where no registry is reached."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from support.containers.commands import run, succeeds
from support.containers.debian import INSTALL_SECONDS, install, needed_for, require_root

PULL_SECONDS = 300.0
RECIPES = Path(__file__).with_name("standin.sh")
TRUSTED = Path("/usr/local/share/ca-certificates")  # authorities this machine trusts beyond Debian's list
PYTHON = "python:3.11-slim-bookworm"
REDIS = "redis:7-bookworm"


def base_images() -> dict[str, str]:
    """The environment that makes deploy/ build from images which are on this machine when this returns."""
    python = available(PYTHON, make_python)
    return {"PYTHON_IMAGE": python, "REDIS_IMAGE": available(REDIS, partial(make_redis, python))}


def available(image: str, make: Callable[[str], None]) -> str:
    """The image itself, or its stand-in. A stand-in that is here is taken without asking the registry again."""
    standin = f"headrace-standin/{image}-{fingerprint()}"
    if present(image):
        return image
    if present(standin):
        return standin
    if pulled(image):
        return image
    purpose = f"making {standin}"
    require_root(purpose)
    print(f"{purpose}: no registry gives the official image", flush=True)
    with needed_for(purpose):
        make(standin)
    return standin


def present(image: str) -> bool:
    """Whether the image is on this machine."""
    return succeeds(["docker", "image", "inspect", image])


def pulled(image: str) -> bool:
    """Whether the registry gave the image."""
    try:
        run(["docker", "pull", "--quiet", image], timeout=PULL_SECONDS)
    except subprocess.SubprocessError:
        return False
    return True


def make_python(image: str) -> None:
    """Make the stand-in for Python."""
    if shutil.which("mmdebstrap") is None:
        install("mmdebstrap", purpose=f"making {image}")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "pip.conf").write_text(pip_configuration())
        run([RECIPES, "python", image, folder], timeout=INSTALL_SECONDS)


def make_redis(python: str, image: str) -> None:
    """Make the stand-in for Redis out of an image with Debian's package tools."""
    run([RECIPES, "redis", image, python], timeout=INSTALL_SECONDS)


def fingerprint() -> str:
    """What a stand-in is made from, in short: a change of it makes another image."""
    digest = hashlib.sha256(RECIPES.read_bytes() + pip_configuration().encode())
    for certificate in sorted(TRUSTED.glob("*.crt")):
        digest.update(certificate.read_bytes())
    return digest.hexdigest()[:12]


def pip_configuration() -> str:
    """How pip on this machine reaches its index, for the pip inside of builds."""
    lines = ["[global]", "cert = /etc/ssl/certs/ca-certificates.crt"]
    listed = run([sys.executable, "-m", "pip", "config", "list"])
    for key, value in re.findall(r"^[^.\n]+\.(index-url|extra-index-url|trusted-host|proxy)='(.*)'$", listed, re.M):
        lines.append(f"{key} = {value}")
    return "\n".join([*lines, ""])
