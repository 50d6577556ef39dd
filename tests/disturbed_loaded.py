"""What commands load and what takes long: here once, and not in every fork."""

import faulthandler  # noqa: F401

import matplotlib.backends.backend_agg
import matplotlib.backends.backend_pdf
import matplotlib.backends.backend_svg
import matplotlib.figure  # noqa: F401
import torch
import torch._dynamo
import torch.utils.tensorboard

import lib.inference.runner
import lib.report.page
import lib.synthetic
import lib.training.run
import lib.vot.tracking  # noqa: F401

torch.set_num_threads(1)
