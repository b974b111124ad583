"""The base images: the official ones, or stand-ins made from Debian's packages where no registry is reached."""

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from support.containers.commands import run, succeeds
from support.containers.debian import INSTALL_SECONDS, install, needed_for, require_root

PULL_SECONDS = 300.0
RECIPE = Path(__file__).with_name("standin.sh")
TRUSTED = Path("/usr/local/share/ca-certificates")  # authorities this machine trusts beyond Debian's list
OFFICIAL = {"PYTHON_IMAGE": "python:3.11-slim-bookworm", "REDIS_IMAGE": "redis:7-bookworm"}


def base_images() -> dict[str, str]:
    """The environment that makes deploy/ build from images which are on this machine when this returns."""
    return {variable: available(image) for variable, image in OFFICIAL.items()}


def available(image: str) -> str:
    """The image itself, or its stand-in; a stand-in that is here already is not doubted again."""
    name = image.partition(":")[0]
    standin = f"headrace-standin/{image}-{fingerprint()}"
    if succeeds(["docker", "image", "inspect", image]):
        return image
    if succeeds(["docker", "image", "inspect", standin]) or not pulled(image):
        ensure_standin(name, standin)
        return standin
    return image


def pulled(image: str) -> bool:
    """Whether the registry gave the image."""
    try:
        run(["docker", "pull", "--quiet", image], timeout=PULL_SECONDS)
    except subprocess.SubprocessError:
        return False
    return True


def ensure_standin(name: str, image: str) -> None:
    """Make a stand-in unless it is here."""
    if succeeds(["docker", "image", "inspect", image]):
        return
    purpose = f"making {image}"
    require_root(purpose)
    print(f"{purpose}: no registry gives the official image", flush=True)
    if shutil.which("mmdebstrap") is None:
        install("mmdebstrap", purpose=purpose)
    with tempfile.TemporaryDirectory() as folder, needed_for(purpose):
        configuration = Path(folder, "pip.conf")
        configuration.write_text(pip_configuration())
        run([RECIPE, name, image, folder], timeout=INSTALL_SECONDS)


def fingerprint() -> str:
    """What a stand-in is made from, in short: a change of it makes another image."""
    digest = hashlib.sha256(RECIPE.read_bytes() + pip_configuration().encode())
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
