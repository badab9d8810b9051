"""The demo: ``python app.py``, at home or on a Hugging Face Space."""

import os

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: it would ask outside

from induction.ui import jobs, memory, page

demo = page.build()

if __name__ == "__main__":
    memory.few_arenas()
    demo.queue(max_size=jobs.QUEUE_LIMIT).launch(**page.launch_options())
