"""Runs workers alone, in the foreground: `workers.py [N] [--queue high,default,low]`.

They run beside a site, or on another machine with the same DATABASE_URL and QUEUE_URL. They wait while the schema of
the database is older than the code, and never migrate it. With N there is no autoscaling.
"""

import argparse
import os

from common import ROOT, check_settings, load_env_file
from program import become, data_dir


def main() -> None:
    """Check the settings and become the consumer."""
    parser = argparse.ArgumentParser(prog="start-workers.sh", description="Run workers alone, in the foreground.")
    parser.add_argument("workers", nargs="?", metavar="N", help="how many (default: WORKERS, else 3)")
    parser.add_argument("--queue", metavar="A,B", help="only these of high, default, low (default: all)")
    given = parser.parse_args()
    os.umask(0o077)
    if os.environ.get("DATA_DIR", "").strip():
        os.environ["DATA_DIR"] = str(data_dir())
    os.chdir(ROOT)
    load_env_file()
    if given.workers is not None:
        os.environ |= {"WORKERS": given.workers, "WORKERS_MIN": "0", "WORKERS_MAX": "0"}  # exactly so many
    if given.queue is not None:
        os.environ["WORKER_QUEUES"] = given.queue or ","
    settings = check_settings()  # refuses a bad number or queue with one line
    queues = settings["worker_queues"]
    os.environ |= {
        "DATA_DIR": settings["data_dir"],
        "WORKERS": str(settings["workers"]),
        "GRACE": str(settings["grace"]),
        "WORKER_QUEUES": queues if isinstance(queues, str) else ",".join(queues),
    }
    print(f"Starting {os.environ['WORKERS']} workers for {os.environ['WORKER_QUEUES']}; Ctrl-C stops them.", flush=True)
    become("workers", {})


if __name__ == "__main__":
    main()
