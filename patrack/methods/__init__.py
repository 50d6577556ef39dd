"""Methods: what is added to the frozen network. One file each; `model.method` of an experiment names the key here."""

from patrack.methods.bat import BAT
from patrack.methods.lora import LoRA
from patrack.methods.patrack import PATrack
from patrack.methods.sdstrack import SDSTrack
from patrack.methods.seatrack import SEATrack
from patrack.methods.vipt import ViPT
from patrack.network import Network

__all__ = ["METHODS"]

METHODS: dict[str, type[Network]] = {
    "patrack": PATrack,
    "bat": BAT,
    "lora": LoRA,
    "vipt": ViPT,
    "sdstrack": SDSTrack,
    "seatrack": SEATrack,
    "none": Network,
}
