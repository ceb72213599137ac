"""Run sslyze and testssl.sh against a coordinator, its bootstrap and a node on loopback.

Both are tools of their own, not dependencies: sslyze from an environment named by ``--sslyze``,
testssl from the system (``testssl`` or ``testssl.sh``; skipped with a word if it is absent).  Ends
with 1 if anything but TLS 1.3 is accepted or a finding is above low.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.integration.cluster import Cluster, running_cluster

OLD = ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1", "tls_1_2")
LOUD = {"MEDIUM", "HIGH", "CRITICAL", "FATAL"}
BY_DESIGN = {
    "cert_chain_of_trust": "a member's own CA, which testssl does not know",
    "cert_trust": "certificates name a SPIFFE id; host names prove nothing here",
    "cert_revocation": "revocations go to every listener by the coordinator, not by CRL or OCSP",
    "cert_expirationStatus": "leaves live 30 days and renew themselves",
    "cert_notAfter": "leaves live 30 days and renew themselves",
}
"""What testssl rates above low because it judges by the public web's PKI; printed, not counted."""
SSLYZE = (
    "--sslv2", "--sslv3", "--tlsv1", "--tlsv1_1", "--tlsv1_2", "--tlsv1_3", "--heartbleed",
    "--openssl_ccs", "--robot", "--compression", "--fallback", "--reneg", "--resum", "--early_data",
)  # fmt: skip


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sslyze", default="sslyze", help="The sslyze to use.")
    chosen = options.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        running_cluster(
            Path(folder) / "member", node_count=1, extra={"COLLECTIVE_COPIES": "1"}
        ) as cluster,
    ):
        ports = {
            "coordinator": cluster.coordinator_port,
            "bootstrap": cluster.bootstrap_port,
            "node": next(iter(cluster.node_ports.values())),
        }
        faults: list[str] = []
        for name, port in ports.items():
            faults += sslyze(chosen.sslyze, name, port, Path(folder), cluster)
            faults += testssl(name, port, Path(folder))
    for fault in faults:
        say(f"FOUND {fault}")
    say(f"{len(faults)} findings above low.")
    return 1 if faults else 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def sslyze(tool: str, name: str, port: int, folder: Path, cluster: Cluster) -> list[str]:
    """Return what sslyze finds on one port; with the operator's certificate where one is asked."""
    out = folder / f"sslyze-{name}.json"
    certs = cluster.operator
    own = [] if name == "bootstrap" else ["--cert", certs[5], "--key", certs[7]]
    subprocess.run(
        [tool, *SSLYZE, *own, "--json_out", str(out), f"127.0.0.1:{port}"],
        capture_output=True,
        check=False,
        timeout=300,
    )
    (result,) = json.loads(out.read_text())["server_scan_results"]
    if result["scan_status"] != "COMPLETED":
        return [f"sslyze {name}: {result['connectivity_error_trace']}"]
    scans: dict[str, Any] = result["scan_result"]

    def of(scan: str) -> dict[str, Any]:
        found: dict[str, Any] = scans[scan]["result"] or {}
        return found

    faults = [
        f"sslyze {name}: accepts {version}"
        for version in OLD
        if of(f"{version}_cipher_suites").get("accepted_cipher_suites")
    ]
    modern = [
        one["cipher_suite"]["name"]
        for one in of("tls_1_3_cipher_suites").get("accepted_cipher_suites", [])
    ]
    if not modern:
        faults.append(f"sslyze {name}: no TLS 1.3")
    wrong = {
        "heartbleed": of("heartbleed").get("is_vulnerable_to_heartbleed"),
        "ccs": of("openssl_ccs_injection").get("is_vulnerable_to_ccs_injection"),
        "compression": of("tls_compression").get("supports_compression"),
        "early data": of("tls_1_3_early_data").get("supports_early_data"),
        "renegotiation": of("session_renegotiation").get(
            "is_vulnerable_to_client_renegotiation_dos"
        ),
    }
    faults += [f"sslyze {name}: {what}" for what, found in wrong.items() if found]
    say(f"sslyze  {name}: TLS 1.3 only with {', '.join(modern)}; {len(faults)} findings")
    return faults


def testssl(name: str, port: int, folder: Path) -> list[str]:
    """Return testssl's findings above low on one port."""
    tool = shutil.which("testssl") or shutil.which("testssl.sh")
    if tool is None:
        say("testssl is not installed; skipped (Debian: apt-get install testssl.sh).")
        return []
    out = folder / f"testssl-{name}.json"
    subprocess.run(
        [tool, "--quiet", "--color", "0", "--warnings", "off", "--fast", "-p", "-s", "-S", "-P",
         "-U", "--ip", "one", "--jsonfile", str(out), f"127.0.0.1:{port}"],
        capture_output=True, stdin=subprocess.DEVNULL, check=False, timeout=600,
    )  # fmt: skip
    findings = json.loads(out.read_text())
    offered = {one["id"]: one["finding"] for one in findings}
    loud: list[str] = []
    for one in findings:
        if one["severity"] not in LOUD:
            continue
        reason = BY_DESIGN.get(one["id"].split(" ")[0])
        told = f"testssl {name}: {one['severity']} {one['id']}: {one['finding']}"
        if reason and one["finding"] != "expired":
            say(f"{told} (by design: {reason})")
        else:
            loud.append(told)
    say(
        f"testssl {name}: {len(findings)} checks, TLS1_3 {offered.get('TLS1_3')}; {len(loud)} findings"
    )
    return loud


if __name__ == "__main__":
    sys.exit(main())
