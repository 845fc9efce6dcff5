"""A real Slurm on this machine for the tests: Debian's slurmctld, slurmd and munged in a folder, on ports of its own.

Reads   the packages slurm-wlm and munge; as root, because every node is a namespace (processes, hostname, mounts)
Writes  a short folder under /tmp, removed by `stop`; nothing in /etc, no service
Example cluster = SlurmCluster(nodes=2).start(); job = cluster.submit("--wrap", "hostname"); cluster.wait(job)

A node has its own hostname (node1, node2, ...), which the other nodes reach, and eight pretended GPUs; `kill_node` is a
power cut, everything on the node dies at once. The nodes share the disk. All daemons die with this process.
"""

import contextlib
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from knowledge_breakage import copy_project

ROOT = Path(__file__).resolve().parents[2]
ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "DEADLINE", "BOOT_FAIL", "OUT_OF_MEMORY")
# cred_expire: a requeued job waits until its credential has expired, 120 s by default. SlurmdTimeout: a lost node is
# noticed within some 20 s. GPUs need character devices: links to /dev/null are some.
SETTINGS = """\
ClusterName=box
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge/sock,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
MailProg=/bin/true
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,sched_min_interval=0,batch_sched_delay=0,requeue_delay=1
SlurmdParameters=config_overrides
FirstJobId={first_job}
ReturnToService=2
MinJobAge=3600
KillWait=5
CompleteWait=0
BatchStartTimeout=10
MessageTimeout=10
SlurmdTimeout={slurmd_timeout}
SlurmctldTimeout=10
GresTypes=gpu
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
"""


def why_not() -> str:
    """Why no cluster can run here, or an empty string."""
    missing = [name for name in ("slurmctld", "slurmd", "munged", "unshare", "setpriv") if not shutil.which(name)]
    if missing:
        return f"no real Slurm here ({', '.join(missing)} missing); Debian packages slurm-wlm and munge"
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["unshare", "--mount", "--uts", "--pid", "--fork", "true"], capture_output=True, check=False
        ).returncode
    ):
        return "a node of the real Slurm is a namespace, which takes root (CAP_SYS_ADMIN)"
    return ""


def free_ports(count: int) -> list[int]:
    """Free ports, under those that the system and the job scripts give out."""
    while True:
        first = random.randint(10000, 19000)
        ports = list(range(first, first + count))
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in ports:
                held.enter_context(socket.create_server(("", port)))
            return ports


class SlurmCluster:
    """`start` and `stop` it; nodes: how many, each with these (pretended) gpus and cpus.

    slurmd_timeout: seconds that a node may not answer before it is held for lost (Slurm's own default is 300).
    """

    def __init__(self, nodes: int = 2, gpus: int = 8, cpus: int = 96, slurmd_timeout: int = 5):
        self.names = [f"node{number + 1}" for number in range(nodes)]
        self.gpus, self.cpus, self.slurmd_timeout = gpus, cpus, slurmd_timeout
        self.folder = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))  # UNIX sockets lie in it: a short path
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "SRUN_"))}
        self.environment = clean | {"SLURM_CONF": str(self.folder / "etc/slurm.conf")}
        self.processes: dict[str, subprocess.Popen] = {}

    # Starting and stopping

    def start(self) -> "SlurmCluster":
        for name in ("etc", "munge", "state", "spool", "run", "log", "dev"):
            (self.folder / name).mkdir()
        self.folder.chmod(0o755)
        (self.folder / "munge").chmod(0o711)
        self._write_settings()
        key, munge = self.folder / "munge/key", self.folder / "munge"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        # --force: a folder above that is private to root is then a warning.
        self._spawn(
            "munged",
            "munged",
            "--foreground",
            "--force",
            f"--key-file={key}",
            f"--socket={munge}/sock",
            f"--pid-file={munge}/pid",
            f"--seed-file={munge}/seed",
            f"--log-file={munge}/log",
        )
        self.until((munge / "sock").exists, 20, "munged")
        self._spawn("slurmctld", "slurmctld", "-D")
        for name in self.names:
            self._spawn_node(name)
        self.until(lambda: set(self.node_states().values()) == {"idle"}, 60, "nodes idle")
        return self

    def stop(self) -> None:
        """End everything; what a job has started dies with its node."""
        for process in reversed(self.processes.values()):
            process.kill()
        for process in self.processes.values():
            process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def kill_node(self, name: str) -> None:
        """A power cut: all processes of the node die at once. Slurm calls it down some 20 s later."""
        self.processes[name].kill()
        self.processes[name].wait()

    def start_node(self, name: str) -> None:
        """Start a killed node again, and wait until Slurm has it back."""
        self._spawn_node(name)
        self.until(lambda: self.node_states().get(name) in ("idle", "mixed", "allocated"), 60, f"{name} back")

    def on_node(self, name: str, *words: object) -> subprocess.CompletedProcess:
        """A command inside the node, which has mounts and processes of its own."""
        (init,) = Path(f"/proc/{self.processes[name].pid}/task/{self.processes[name].pid}/children").read_text().split()
        return self.run("nsenter", f"--target={init}", "--mount", "--pid", "--uts", *words)

    def node_states(self) -> dict[str, str]:
        """{"node1": "idle", ...}; a "*" behind the state means that the node doesn't answer."""
        lines = self.run("sinfo", "-h", "-N", "-o", "%N %T").stdout.splitlines()
        return dict(line.split() for line in lines)

    def clean_up(self) -> None:
        """No job left and every node back, for the next test."""
        self.run("scancel", "--full", "--quiet", "--user", "root")
        for name in self.names:
            if self.processes[name].poll() is not None:
                self.until(lambda name=name: "down" in self.node_states()[name], 90, f"{name} down")
                self.start_node(name)
        self.until(lambda: not self.queue(), 60, "empty queue")

    # Jobs

    def run(self, *words: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess:
        """A Slurm command of this cluster."""
        return subprocess.run(
            [str(word) for word in words],
            cwd=cwd,
            env=self.environment | environment,
            text=True,
            capture_output=True,
            check=False,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    def submit(self, *words: object, cwd: Path = ROOT, **environment: str) -> str:
        """sbatch with these words, from the folder cwd; the job's number."""
        done = self.run("sbatch", "--parsable", *words, cwd=cwd, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def queue(self) -> list[str]:
        """The jobs that have not ended, as squeue names them."""
        return self.run("squeue", "-h", "-o", "%i %j %T %R").stdout.splitlines()

    def jobs(self, job: str) -> list[dict[str, str]]:
        """What `scontrol show job` says, a dict a job: of an array's number, one an array task."""
        lines = self.run("scontrol", "show", "job", "-o", job).stdout.splitlines()
        return [dict(word.partition("=")[::2] for word in line.split() if "=" in word) for line in lines if line]

    def job(self, job: str) -> dict[str, str]:
        return self.jobs(job)[0]

    def wait(self, job: str, seconds: float = 180) -> dict[str, str]:
        """The job's facts when it has ended (an array: when all tasks have), whichever way: JobState, ExitCode, ..."""
        self.until(lambda: all(j["JobState"] in ENDED for j in self.jobs(job)), seconds, f"end of job {job}", job)
        return self.job(job)

    def until(self, condition, seconds: float, what: str, job: str = "") -> object:
        """Poll until condition() is true; returns what it gave. AssertionError with the logs when it takes too long."""
        deadline = time.monotonic() + seconds
        while not (found := condition()):
            if time.monotonic() > deadline:
                told = [self.run("scontrol", "show", "job", "-o", job).stdout, self.log(job)[-6000:]] if job else []
                log = self.folder / "log/slurmctld.log"
                told += [log.read_text()[-3000:] if log.exists() else ""]
                raise AssertionError(f"no {what} within {seconds:.0f} s\n" + "\n".join(told))
            time.sleep(0.2)
        return found

    def log(self, job: str) -> str:
        """The job's output so far (an array: of all its tasks)."""
        paths = [Path(facts["StdOut"]) for facts in self.jobs(job) if "StdOut" in facts]
        return "".join(path.read_text("utf-8", "replace") for path in dict.fromkeys(paths) if path.is_file())

    # Inside

    def _write_settings(self) -> None:
        ports = free_ports(1 + len(self.names))
        self.port = ports[0]
        settings = SETTINGS.format(
            folder=self.folder,
            host=socket.gethostname(),
            port=ports[0],
            # Job scripts make their port of the job's number: clusters side by side must not have the same numbers.
            first_job=random.randint(1000, 60000),
            slurmd_timeout=self.slurmd_timeout,
        )
        hosts = f"127.0.0.1 localhost {socket.gethostname()}\n"
        for number, (name, port) in enumerate(zip(self.names, ports[1:], strict=True), 1):
            gpus = f"Gres=gpu:{self.gpus} " if self.gpus else ""
            settings += (
                f"NodeName={name} NodeHostname={name} NodeAddr=127.0.1.{number} Port={port} CPUs={self.cpus} "
                f"RealMemory=1000000 {gpus}State=UNKNOWN\n"
            )
            hosts += f"127.0.1.{number} {name}\n"
        # A job in the partition urgent takes its nodes from those in main, which are queued again.
        for name, more in (("main", "Default=YES PriorityTier=1"), ("urgent", "PriorityTier=10 PreemptMode=OFF")):
            settings += f"PartitionName={name} Nodes=ALL MaxTime=INFINITE DefaultTime=30 DefMemPerCPU=100 {more}\n"
        (self.folder / "etc/slurm.conf").write_text(settings)
        (self.folder / "etc/hosts").write_text(hosts)
        for number in range(self.gpus):
            (self.folder / f"dev/nvidia{number}").symlink_to("/dev/null")
        devices = f"Name=gpu File={self.folder}/dev/nvidia[0-{self.gpus - 1}]\n" if self.gpus else ""
        (self.folder / "etc/gres.conf").write_text(devices)

    def _spawn_node(self, name: str) -> None:
        (self.folder / "spool" / name).mkdir(exist_ok=True)
        # The shell is the namespace's first process: it reaps orphans, and its death ends all that runs on the node.
        init = f'hostname {name}; mount --bind {self.folder}/etc/hosts /etc/hosts; slurmd -D -N {name} & wait "$!"'
        self._spawn(
            name, "unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", init
        )

    def _spawn(self, name: str, *words: str) -> None:
        with open(self.folder / f"log/{name}.out", "ab") as log:
            self.processes[name] = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *words],
                env=self.environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def copy_of_the_project(target: Path) -> Path:
    """The project's files as a fresh clone has them, with this environment's .venv and an empty logs/."""
    copy_project(target)
    (target / ".venv").symlink_to(ROOT / ".venv")
    return target
