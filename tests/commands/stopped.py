"""Training that is stopped at a place that is said, not left to chance."""

#: `python -c AFTER_A_CHUNK SIGNAL GROUP STEP FLAG…`: train.py in which the process sends itself a signal when a group's metrics
#: have got to a step: after the chunk of compiled steps, before its checkpoint. A kill finds the checkpoint one chunk behind.
AFTER_A_CHUNK = """
import os, runpy, signal, sys
from infoser import trainer

number, group, step = getattr(signal, sys.argv[1]), sys.argv[2], int(sys.argv[3])
write = trainer.Metrics.write

def write_and_stop(self, done, means):
    write(self, done, means)
    if (self._group.name, done) == (group, step):
        os.kill(os.getpid(), number)

trainer.Metrics.write = write_and_stop
sys.argv = ["train.py", *sys.argv[4:]]
runpy.run_path("train.py", run_name="__main__")
"""
