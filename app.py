"""The demo: ``python app.py``, at home or on a Hugging Face Space."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: it would ask outside

from induction.ui import app, jobs, memory

demo = app.build()

if __name__ == "__main__":
    memory.few_arenas()
    demo.queue(max_size=jobs.QUEUE_LIMIT).launch(**app.launch_options())
