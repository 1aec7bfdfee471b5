"""Trains an experiment and prints its table: python train.py demo | iemocap | corpus --data.name NAME [flags]."""

import sys
from collections.abc import Sequence

from infoser import presets
from infoser.commandline import run_command


def main(argv: Sequence[str]) -> None:
    """Runs the command line `argv` (without the program's name)."""
    config = presets.parse(argv)
    # Imported after parsing: help and mistakes in flags need no JAX.
    from infoser import demo, experiment, hosts
    from infoser.report import summary, tables

    with hosts.connected(config.hosts):
        results = experiment.train(config)
        if results is None or not hosts.primary():
            return
    summary.write_tables(config.run_dir, results)
    out = tables.console()
    tables.print_results(results, out)
    if results["provenance"]["corpus"]["name"] == "demo":
        tables.print_demo_truth(results, demo.truth(), out)
    written = ["results.json", "scores.csv (.parquet)", "quality.csv", "table.md (.tex)"]
    written += ["selection.csv"] if "selection" in results else []
    print(f"written to {config.run_dir}: {', '.join(written)}; python eval.py score {config.run_dir} checks it")


if __name__ == "__main__":
    sys.exit(run_command(main))
