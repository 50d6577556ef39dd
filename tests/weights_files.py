"""Small models, and their weights as other projects would store them."""

from collections import OrderedDict

import torch

from patrack import adapter_parameters, build_model
from patrack import weights as w
from small_models import ADAPTERS, tiny_config


def make(seed=0, streams="both", **more):
    """A model of a few thousand random parameters; its norms and statistics are random too."""
    torch.manual_seed(seed)
    modality = "rgb" if streams == "rgb" else "rgbt"
    changes = {"streams": streams, "adapters": ADAPTERS, **more}
    model = build_model(tiny_config(changes, modality=modality))
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand_like(tensor) + 0.1)
    return model


def state(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a, b, names=None):
    return all(torch.equal(a[name], b[name]) for name in names or a)


def published(model):
    """The model's tensors under the release's names and in its shapes, with the dead tensors a release file holds."""
    tensors = {}
    for ours, theirs in w.published_names(model).items():
        tensor = model.state_dict()[ours].clone()
        if tensor.ndim == 2 and (".highfuseadapter" in theirs or theirs.endswith("_t.proj.weight")):
            tensor = tensor[:, :, None, None]  # 1x1 convolutions there
        tensors[theirs] = tensor
    dead = {
        "backbone.cls_token": (1, 1, 8),
        "backbone.pos_embed": (1, 197, 8),
        "norm1.weight": (8,),
        "norm1.bias": (8,),
        "backbone.blocks.1.adap_t.D_fc1.weight": (4, 8),
        "backbone.blocks.1.adap2_t.proj.bias": (8,),
        "backbone.blocks.0.highfuseadapter1.down.weight": (4, 8, 1, 1),
        "backbone.blocks.0.highfuseadapter2.obj_fuse.gamma1": (1,),
        "backbone.blocks.0.norml1.weight": (8,),
        "backbone.blocks.1.highfuseadapter1.obj_fuse.gamma2": (1,),
    }
    return tensors | {name: torch.ones(shape) for name, shape in dead.items()}


def ostrack(model):
    """The base model as OSTrack stores it under "net"."""
    adapters = ("adap", "highfuse", "norml")
    return OrderedDict((k, v) for k, v in published(model).items() if not any(part in k for part in adapters))


def base_model_names(model):
    inside = set(adapter_parameters(model))
    return [name for name in model.state_dict() if name not in inside and ".cea_norm" not in name]
