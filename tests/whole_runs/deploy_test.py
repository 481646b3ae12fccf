"""Tests of deploy/: the files for Slurm and Kubernetes give every worker its TF_CONFIG, with stand-ins for their commands."""

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest
from importlib import util

from absl.testing import absltest, parameterized

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"

_PRETRAIN = """#!/bin/sh
echo "$TF_CONFIG" | tr -d "\\n" >> "$LOG"
echo " $*" >> "$LOG"
exit "${CODE:-0}"
"""
_SRUN = """#!/bin/sh
SLURM_NODEID=0 "$@"
SLURM_NODEID=1 "$@"
"""
_SCONTROL = """#!/bin/sh
case "$*" in
  "show hostnames node[1-2]") printf 'node1\\nnode2\\n' ;;
  *) echo "scontrol $*" >> "$LOG" ;;
esac
"""


@unittest.skipUnless(shutil.which("bash"), "bash is not installed")
class DeployTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.enter_context(tempfile.TemporaryDirectory()))
        for name, text in {"semppl-pretrain": _PRETRAIN, "srun": _SRUN, "scontrol": _SCONTROL}.items():
            (self.folder / name).write_text(text)
            (self.folder / name).chmod(0o755)

    def _run(self, command, **environment):
        """Runs a command; returns its exit code, and the lines that the stand-ins logged."""
        log = self.folder / "log"
        log.unlink(missing_ok=True)
        path = f"{self.folder}:{os.environ['PATH']}"
        code = subprocess.run(
            command, env=os.environ | {"PATH": path, "LOG": str(log)} | environment, check=False
        ).returncode
        return code, log.read_text().splitlines()

    def _assert_config(self, line, workers, index, arguments):
        config, _, given = line.partition("}} ")
        expected = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        self.assertEqual(json.loads(config + "}}"), expected)
        self.assertEqual(given, arguments)

    def _run_batch(self, **environment):
        slurm = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_ID": "7"}
        return self._run(
            ["bash", str(DEPLOY / "slurm_pretrain.sh"), "--workdir=a b", "--preset=p"], **slurm, **environment
        )

    def test_slurm_starts_a_worker_per_machine(self):
        subprocess.run(["bash", "-n", str(DEPLOY / "slurm_pretrain.sh")], check=True)
        code, lines = self._run_batch()
        self.assertEqual((code, len(lines)), (0, 2))
        for index, line in enumerate(lines):
            arguments = "--strategy=multiworker --workdir=a b --preset=p"
            self._assert_config(line, ["node1:2222", "node2:2222"], index, arguments)

    @parameterized.parameters(("5", True), ("143", True), ("2", False))
    def test_slurm_requeues_a_run_that_can_continue_and_no_other(self, code, again):
        ended, lines = self._run_batch(CODE=code)
        self.assertEqual(ended, int(code))
        self.assertEqual("scontrol requeue 7" in lines, again)

    @unittest.skipUnless(util.find_spec("yaml"), "PyYAML is not installed")
    def test_kubernetes_starts_a_worker_per_pod(self):
        import yaml

        text = (DEPLOY / "kubernetes_pretrain.yaml").read_text(encoding="utf-8")
        service, job = yaml.safe_load_all(text)
        self.assertEqual((service["kind"], job["kind"]), ("Service", "Job"))
        self.assertEqual(service["spec"]["selector"], {"job-name": job["metadata"]["name"]})
        pod = job["spec"]["template"]["spec"]
        self.assertEqual(pod["subdomain"], service["metadata"]["name"])
        (container,) = pod["containers"]
        environment = {entry["name"]: entry["value"] for entry in container["env"]}
        self.assertEqual(environment, {"WORKERS": str(job["spec"]["completions"])})
        self.assertEqual(job["spec"]["parallelism"], job["spec"]["completions"])
        command = [*container["command"], *container["args"]]
        for index in range(2):
            code, (line,) = self._run(command, JOB_COMPLETION_INDEX=str(index), **environment)
            self.assertEqual(code, 0)
            workers = ["semppl-0.semppl:2222", "semppl-1.semppl:2222"]
            arguments = " ".join(["--strategy=multiworker", *container["args"]])
            self._assert_config(line, workers, index, arguments)


if __name__ == "__main__":
    absltest.main()
