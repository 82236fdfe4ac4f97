"""Blueprints in Python, and the command that compiles them.  Source: bundle contract, section 14."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from authoring import Author
from headway_wire.bundle import read_folder
from headway_wire.manifest import read
from mn_blueprint_support import compile_blueprint, generate_bundle
from mn_sdk import BundleCompileError
from mn_sdk.blueprint_support.python_workflow_bundle_cli import main
from test_compile_chain import SAMPLE

EXAMPLES = Path(__file__).parents[3] / "examples" / "blueprints"


@pytest.fixture
def blueprint(author: Author) -> Author:
    """A folder with the sample of the reference as a blueprint."""
    author.write("workflow.py", SAMPLE)
    describe(author)
    return author


def describe(author: Author, manifest: dict[str, Any] | None = None, **workflow: Any) -> None:
    """Write the blueprint's manifest."""
    said = {"class": "MarketingResearchFlow", **workflow}
    author.write(
        "manifest.json", json.dumps({"metadata": {"python_workflow": said}, "id": "bp", **(manifest or {})})
    )


def compiled(author: Author, **options: Any) -> dict[str, Any]:
    """The manifest of the bundle of a blueprint."""
    bundle = generate_bundle(author.folder, author.output, **options)
    manifest: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    read(manifest)
    return manifest


@pytest.mark.parametrize("name", ["python_sdk_research_pipeline", "python_sdk_research_service"])
def test_the_command_of_the_reference_compiles_the_examples(name: str, tmp_path: Path) -> None:
    output = tmp_path / "bundle"
    command = "-m mn_blueprint_support.python_workflow_bundle_cli --blueprint-dir . --quick-test --output-dir"

    done = subprocess.run(
        [sys.executable, *command.split(), str(output)],
        cwd=EXAMPLES / name,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr, done.stdout) == (0, "bundle generated\n", f"{output}\n")
    bundle = read_folder(output)
    manifest = json.loads(bundle.manifest_json)
    assert read(manifest).graph_id == manifest["graph_id"]
    assert manifest["metadata"]["quick_test"] == {"enabled": True}
    assert (output / "config" / "default.json").is_file()
    assert not (EXAMPLES / name / "__pycache__").exists()


def test_the_pipeline_is_the_program_of_the_reference() -> None:
    program = (EXAMPLES / "python_sdk_research_pipeline" / "workflow.py").read_text()

    docstring, _, code = program.partition("\n\n")
    assert docstring.startswith('"""')
    assert code.strip() == SAMPLE.strip()


def test_the_command_has_the_name_of_the_published_package_too(blueprint: Author) -> None:
    command = ["-m", "mn_sdk.blueprint_support.python_workflow_bundle_cli", "--blueprint-dir"]

    done = subprocess.run(
        [sys.executable, *command, str(blueprint.folder), "--output-dir", str(blueprint.output)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "bundle generated\n")


def test_the_blueprint_says_what_the_bundle_says(blueprint: Author) -> None:
    describe(
        blueprint,
        {
            "schedule": {"cron": "@daily"},
            "triggers": [{"name": "t", "event_type": "e"}],
            "services": [{"name": "api"}],
            "description": "of the blueprint",
        },
        metadata={"owner": "me"},
        description="of the workflow",
        initial_inputs={"topic": "tea"},
        includes=["data.txt"],
        excludes=["extra.py"],
    )
    for name in ("data.txt", "extra.py", "scenario.json", "requirements.txt", "config/overwrite.json"):
        blueprint.write(name, "{}")

    manifest = compiled(blueprint)

    assert manifest["initial_inputs"]["ingress"][0]["args"] == ["tea"]
    assert manifest["description"] == "of the workflow"
    assert manifest["schedule"] == {"cron": "@daily"}
    assert manifest["triggers"][0]["name"] == "t"
    assert manifest["services"] == [{"name": "api"}]
    assert manifest["metadata"]["owner"] == "me"
    assert manifest["metadata"]["blueprint_id"] == "bp"
    assert manifest["metadata"]["quick_test"] == {"enabled": False}
    assert manifest["metadata"]["python_workflow"]["class"] == "MarketingResearchFlow"
    assert blueprint.packaged == ["data.txt", "workflow.py"]
    for name in ("scenario.json", "requirements.txt", "config/overwrite.json"):
        assert (blueprint.output / name).read_text() == "{}"


def test_a_quick_test_is_told_to_the_agents(blueprint: Author) -> None:
    for node in compiled(blueprint, quick_test=True)["nodes"]:
        assert node["config"]["environment"]["MN_BLUEPRINT_QUICK_TEST"] == "1"


def test_a_quick_test_may_be_asked_for_by_the_environment(
    blueprint: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MN_BLUEPRINT_QUICK_TEST", "1")

    code = main(["--blueprint-dir", str(blueprint.folder), "--output-dir", str(blueprint.output)])

    manifest = json.loads((blueprint.output / "manifest.json").read_text())
    assert code == 0
    assert manifest["metadata"]["quick_test"] == {"enabled": True}


def test_a_blueprint_compiles_in_memory_to_the_same(
    blueprint: Author, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")

    bundle = compile_blueprint(blueprint.folder, initial_inputs={"topic": "tea"})
    generate_bundle(blueprint.folder, blueprint.output, initial_inputs={"topic": "tea"})

    assert bundle == read_folder(blueprint.output)


def test_the_status_message_is_told_while_the_bundle_is_made(
    blueprint: Author, capsys: pytest.CaptureFixture[str]
) -> None:
    describe(blueprint, status_message="making the pipeline")

    main(["--blueprint-dir", str(blueprint.folder), "--output-dir", str(blueprint.output)])

    assert capsys.readouterr().err == "making the pipeline\nbundle generated\n"


def test_a_blueprint_is_not_executed(blueprint: Author, tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    blueprint.write("workflow.py", f"open({str(mark)!r}, 'w')\n{SAMPLE}")

    compiled(blueprint)

    assert not mark.exists()


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "manifest.json not found in"),
        ("{", "manifest.json is not valid JSON: "),
        ("[]", "manifest.json must contain a JSON object."),
        ("{}", "metadata.python_workflow must be an object with"),
        ('{"metadata": {"python_workflow": {}}}', "metadata.python_workflow.class is required"),
        (
            '{"metadata": {"python_workflow": {"class": "W", "includes": "x"}}}',
            "metadata.python_workflow.includes must be a list, found 'x'",
        ),
        (
            '{"metadata": {"python_workflow": {"class": "W", "module": "../evil"}}}',
            "metadata.python_workflow.module must be the name of a file beside the manifest, found '../evil'",
        ),
        ('{"metadata": {"python_workflow": {"class": "Nobody"}}}', "class 'Nobody' is not defined"),
        (
            '{"metadata": {"python_workflow": {"class": "W", "module": "gone"}}}',
            "the workflow's file cannot be read",
        ),
    ],
)
def test_a_blueprint_that_cannot_be_compiled_exits_with_one_and_the_reason(
    blueprint: Author, content: str | None, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (blueprint.folder / "manifest.json").unlink()
    if content is not None:
        blueprint.write("manifest.json", content)

    code = main(["--blueprint-dir", str(blueprint.folder), "--output-dir", str(blueprint.output)])

    told = capsys.readouterr()
    assert (code, told.out) == (1, "")
    assert told.err.startswith("Error: ")
    assert message in told.err
    assert "Traceback" not in told.err
    assert not blueprint.output.exists()


def test_everything_that_is_wrong_with_the_manifest_is_told_at_once(blueprint: Author) -> None:
    wrong: dict[str, Any] = {"class": "", "module": "a.b", "includes": 3, "complete_on_final": "yes"}
    describe(blueprint, None, **wrong)

    with pytest.raises(BundleCompileError) as refused:
        compiled(blueprint)

    assert len(refused.value.problems) == 4


def test_an_output_folder_without_a_name_is_not_the_one_here(
    blueprint: Author, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)

    with pytest.raises(SystemExit):
        main(["--blueprint-dir", str(blueprint.folder), "--output-dir", ""])

    assert "it is empty; name a folder" in capsys.readouterr().err
    assert not list(here.iterdir())


def test_a_path_that_cannot_be_told_is_an_error_and_no_trace(blueprint: Author) -> None:
    command = [sys.executable, "-m", "mn_blueprint_support.python_workflow_bundle_cli", "--blueprint-dir"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*command, str(blueprint.folder), "--output-dir", str(blueprint.output)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert done.stderr.startswith("bundle generated\nError: ")
    assert "Traceback" not in done.stderr


def test_the_blueprint_is_never_overwritten_by_its_bundle(blueprint: Author) -> None:
    with pytest.raises(BundleCompileError, match="give another output folder"):
        generate_bundle(blueprint.folder, f"{blueprint.folder}/../{blueprint.folder.name}")


def test_a_configuration_that_is_a_link_out_of_the_blueprint_is_refused(
    blueprint: Author, tmp_path: Path
) -> None:
    (tmp_path / "secret.json").write_text("{}")
    (blueprint.folder / "config").mkdir()
    (blueprint.folder / "config" / "default.json").symlink_to(tmp_path / "secret.json")

    with pytest.raises(BundleCompileError, match="symlink leaves the folder"):
        compiled(blueprint)
