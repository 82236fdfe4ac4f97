"""No address of a registry and no path of one machine in any file: a clone works wherever it is.

This file names what it looks for, so it alone is left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.tidy.tree import Finding, Tree, planted, report

OWN = "tests/tidy/test_addresses.py"

_URL_HOST = re.compile(
    r"\b[a-z][a-z0-9+.-]*://(?:[^\s/@\"'`<>]*@)?(\[[0-9a-f:]+\]|[^\s/:\"'`<>(){}\[\],;|\\?#]+)", re.IGNORECASE
)

_RESERVED = re.compile(
    r"""(?: \.+ | localhost | 127(?:\.\d+){3} | 0\.0\.0\.0 | \[::1?\] | 10(?:\.\d+){3} | 192\.0\.2\.\d+
        | [\w*-]+                                       # a bare name: a service in someone's own network
        | (?:[\w*-]+\.)*example(?:\.(?:com|org|net))?     # RFC 2606
        | (?:[\w*-]+\.)+(?:test|invalid|localhost|local|internal|svc)
        )\.?""",
    re.VERBOSE | re.IGNORECASE,
)
"""Hosts that name no real machine.  Source: RFC 2606, RFC 5737, RFC 6761."""

_PUBLIC = frozenset(
    {"www.apache.org", "www.rfc-editor.org", "json-schema.org", "www.w3.org", "python-hyper.org", "cel.dev"}
)
"""Real hosts that documents may name: licences, standards, and the documentation of what we stand on."""

_REGISTRIES = re.compile(
    r"pypi\.org|pythonhosted\.org|npmjs\.(?:org|com)|proxy\.golang\.org|crates\.io|rubygems\.org"
    r"|docker\.io|gcr\.io|ghcr\.io|quay\.io"
)

_MACHINE_PATH = re.compile(
    r"(?<![\w.~*})\]-])/(?:root|work|mnt|Users/\w+|home/(?!user\b|me\b|you\b|ada\b)\w+)(?=/[\w.])"
)
"""Absolute paths of one person's machine; `/home/user` and the like are plain examples."""


def addresses(tree: Tree) -> list[Finding]:
    findings: list[Finding] = []
    for path, text in tree.texts.items():
        if path == OWN:
            continue
        if path == "constraints.txt" and "://" in text:
            findings.append(Finding(path, 1, "an address; constraints name versions only"))
        for number, line in enumerate(text.splitlines(), 1):
            if found := _REGISTRIES.search(line):
                findings.append(
                    Finding(path, number, f"{found.group()}: a registry; its clients know where it is")
                )
            if found := _MACHINE_PATH.search(line):
                findings.append(Finding(path, number, f"{found.group()}: a path of one machine"))
            for host in _URL_HOST.findall(line):
                if not _RESERVED.fullmatch(host) and host.lower().rstrip(".") not in _PUBLIC:
                    findings.append(
                        Finding(path, number, f"{host}: a real host; use one of example.com, or none")
                    )
    return findings


def test_no_file_names_a_registry_a_real_host_or_a_path_of_one_machine(repository: Tree) -> None:
    findings = addresses(repository)

    assert not findings, report(findings)


def test_lock_files_that_record_registry_hosts_are_not_in_git(repository: Tree) -> None:
    names = {Path(path).name for path in repository.paths}

    assert names.isdisjoint({"uv.lock", "pylock.toml", "poetry.lock", "package-lock.json"})


def test_every_kind_of_address_is_found(tmp_path: Path) -> None:
    bad = [
        "index = https://mirror.company.io/simple",
        "see files.pythonhosted.org",
        "cd /root/project",
        "open('/home/alice/x')",
        "postgres://u:p@db.company.net/x",
    ]
    good = [
        "http://127.0.0.1:8080/api",
        "http://[::1]:80",
        "http://prometheus:9090",
        "https://api.example.com/v1",
        "postgresql://localhost/x",
        "https://{host}/x",
        "/home/user/agents",
        "agents/work/x",
        "grpc://engine.test:9",
    ]
    tree = planted(
        tmp_path, {"a.txt": "\n".join(bad + good) + "\n", "constraints.txt": "-i http://localhost/\n"}
    )

    found = {(finding.path, finding.line) for finding in addresses(tree)}

    assert found == {
        ("a.txt", 1),
        ("a.txt", 2),
        ("a.txt", 3),
        ("a.txt", 4),
        ("a.txt", 5),
        ("constraints.txt", 1),
    }
