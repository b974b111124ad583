"""Install each service alone, from its wheel and its own locked requirements, and import its app.

In one shared environment an undeclared dependency works by accident; here it fails. Environments stay in
build/isolated and are remade when a service's requirements change.
"""

import hashlib
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "isolated"
UV = shutil.which("uv")


class CheckFailed(Exception):
    """A service cannot be built, installed or imported by itself."""


def run(command: list[str | Path], *, cwd: Path = ROOT) -> str:
    """Run a command quietly and return what it printed."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise CheckFailed(f"{' '.join(str(part) for part in command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def build_wheel(member: Path) -> Path:
    """Build a member's wheel with the locked build tools of this environment."""
    out = BUILD / "wheels" / member.name
    shutil.rmtree(out, ignore_errors=True)
    run([sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", out], cwd=member)
    return next(out.glob("*.whl"))


def pip_install(environment: Path, *arguments: str | Path) -> None:
    """Install into an environment, with uv where there is one."""
    python = environment / "bin" / "python"
    pip: list[str | Path] = [UV, "pip", "install", "--python", python] if UV else [python, "-m", "pip", "install"]
    run([*pip, "--quiet", *arguments])


def environment_of(service: Path) -> Path:
    """Return an environment that holds a service's locked requirements and nothing else of the workspace."""
    requirements = service / "requirements.txt"
    fingerprint = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    environment = BUILD / service.name
    stamp = environment / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != fingerprint:
        shutil.rmtree(environment, ignore_errors=True)
        if UV:
            run([UV, "venv", "--quiet", "--python", sys.executable, environment])
        else:
            run([sys.executable, "-m", "venv", environment])
        pip_install(environment, "--require-hashes", "-r", requirements)
        stamp.write_text(fingerprint)
    return environment


def members_needed(project: dict[str, object], wheels: dict[str, Path]) -> list[Path]:
    """Wheels of the workspace that a project depends on, itself included."""
    dependencies = project["dependencies"]
    assert isinstance(dependencies, list)
    names = {str(dependency).partition("[")[0] for dependency in dependencies} | {str(project["name"])}
    return [wheel for name, wheel in wheels.items() if name in names]


def check(service: Path, wheels: dict[str, Path]) -> str:
    """Install one service alone and import its app and the modules its commands start in."""
    project = tomllib.loads((service / "pyproject.toml").read_text())["project"]
    environment = environment_of(service)
    reinstall = "--reinstall" if UV else "--force-reinstall"
    pip_install(environment, "--no-deps", reinstall, *members_needed(project, wheels))
    package = project["name"].replace("-", "_")
    modules = {f"{package}.app"} | {entry.partition(":")[0] for entry in project.get("scripts", {}).values()}
    # -W error: an import that warns fails here as it does in the tests.
    run([environment / "bin" / "python", "-I", "-W", "error", "-c", f"import {', '.join(sorted(modules))}"])
    return f"isolated: {project['name']} imports {', '.join(sorted(modules))}"


def check_player_in_wheel(wheel: Path) -> None:
    """The edge's wheel carries every file of the player, not a link to it."""
    player = ROOT / "web" / "player"
    wanted = {
        f"headrace_edge/web/{file.relative_to(player).as_posix()}" for file in player.rglob("*") if file.is_file()
    }
    missing = wanted - set(ZipFile(wheel).namelist())
    if missing:
        raise CheckFailed(f"{wheel.name} lacks {', '.join(sorted(missing))}")


def main() -> int:
    """Check every service; the exit status says whether all stand alone."""
    services = sorted(file.parent for file in ROOT.glob("services/*/pyproject.toml"))
    members = [ROOT / "shared", *services]
    try:
        with ThreadPoolExecutor() as pool:
            built = list(pool.map(build_wheel, members))
            names = [tomllib.loads((member / "pyproject.toml").read_text())["project"]["name"] for member in members]
            wheels = dict(zip(names, built, strict=True))
            check_player_in_wheel(wheels["headrace-edge"])
            for line in pool.map(lambda service: check(service, wheels), services):
                print(line)
    except CheckFailed as failure:
        print(f"isolated: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
