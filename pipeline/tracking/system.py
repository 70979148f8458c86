"""What the machine is doing, under the names that MLflow's page of system metrics shows."""

import psutil
import torch

MEGABYTE = 1e6


def measure() -> dict[str, float]:
    """CPU, memory, disk and, where there is one, GPU memory, now.

    Returns
    -------
    dict of str to float
        Megabytes (10^6 bytes) and per cent; CPU load is the mean since the last call.
    """
    memory = psutil.virtual_memory()
    process = psutil.Process().memory_info()
    found = {
        "system/cpu_utilization_percentage": psutil.cpu_percent(interval=None),
        "system/system_memory_usage_megabytes": memory.used / MEGABYTE,
        "system/system_memory_usage_percentage": memory.percent,
        "system/process_memory_megabytes": process.rss / MEGABYTE,
    }
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(number)
            found[f"system/gpu_{number}_memory_usage_megabytes"] = (total - free) / MEGABYTE
            found[f"system/gpu_{number}_memory_usage_percentage"] = 100.0 * (total - free) / total
    return found
