"""What commands load and what takes long: here once, and not in every fork."""

import gc

import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf
import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import torch
import torch._dynamo
import torch.distributed.elastic.multiprocessing.errors
import torch.utils.tensorboard
from tqdm.contrib import logging  # noqa: F401

import lib.inference.runner
import lib.report.page
import lib.report.published
import lib.synthetic
import lib.training.run
import lib.vot.tracking

torch.set_num_threads(1)
lib.report.published.load_published()
gc.collect()
gc.freeze()  # a collection in a fork would copy all of it
