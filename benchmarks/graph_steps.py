"""Training steps of a small ResNet on a GPU: kernel by kernel, and replayed as CUDA graphs.

    python benchmarks/graph_steps.py --device cuda

First whether they are the same: two networks, one of them with graphs, take a few steps in float32 on batches of two
sizes in one loss, as training with a meta loss has them, and must have moved to the same place. Then the time of a
step in bfloat16. On a CPU there are no graphs, and both are one.
"""

import argparse
import copy
import json
import time
from pathlib import Path

import torch
from _networks import ResNet
from torch.nn.functional import cross_entropy

SAME = 1e-2  # of the way that the parameters went


def optimizer_of(net):
    return torch.optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True, weight_decay=5e-4)


def step(net, optimizer, *batches):
    optimizer.zero_grad()
    loss = sum(cross_entropy(net(X), y) for X, y in batches)
    loss.backward()
    optimizer.step()
    return loss.detach()


def batches_of(sizes, device):
    return [(torch.randn(n, 3, 32, 32, device=device), torch.randint(10, (n,), device=device)) for n in sizes]


def states(net):
    """Parameters, means and variances of batch norm, and how many batches it has counted, each in one vector."""
    kinds = {"parameters": [], "running_mean": [], "running_var": [], "num_batches_tracked": []}
    for name, value in net.state_dict().items():
        kind = name.rsplit(".", 1)[-1]
        kinds[kind if kind in kinds else "parameters"].append(value.detach().flatten().double())
    return [torch.cat(values) for values in kinds.values()]


def difference(args):
    """How far two networks with and without graphs are apart, over how far they went."""
    torch.manual_seed(0)
    torch.backends.cudnn.allow_tf32 = False
    plain = ResNet(args.width, args.depth).to(args.device)
    sizes = args.batch_size, args.batch_size - 28
    graphed = copy.deepcopy(plain).capture(sizes)
    before = states(plain)
    optimizers = [(net, optimizer_of(net)) for net in (plain, graphed)]
    for _ in range(4):
        batches = batches_of(sizes, args.device)
        for net, optimizer in optimizers:
            step(net, optimizer, *batches)
    torch.backends.cudnn.allow_tf32 = True
    pairs = zip(states(plain), states(graphed), before, strict=True)
    return max(float((a - b).norm() / (a - start).norm()) for a, b, start in pairs)


def milliseconds(graphs, args):
    """Median time of a step."""
    net = ResNet(args.width, args.depth, bfloat16=True).to(args.device)
    if graphs:
        net.capture((args.batch_size,))
    optimizer, batches = optimizer_of(net), batches_of((args.batch_size,), args.device)
    spent = []
    for _ in range(args.steps):
        start = time.perf_counter()
        step(net, optimizer, *batches).item()  # waits for the device
        spent.append(1e3 * (time.perf_counter() - start))
    return float(torch.tensor(spent[len(spent) // 3 :]).median())


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--depth", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=90)
    parser.add_argument("--out", type=Path, help="JSON file")
    args = parser.parse_args(argv)
    apart = difference(args)
    result = {"difference": apart, "agrees": bool(apart < SAME)}
    result |= {f"{name} ms": milliseconds(graphs, args) for name, graphs in (("eager", False), ("graphs", True))}
    if args.out:
        args.out.write_text(json.dumps(result))
    print(
        f"ResNet-{6 * args.depth + 2}, width {args.width}, batches of {args.batch_size}: {result['eager ms']:.2f} ms a "
        f"step, {result['graphs ms']:.2f} ms by graphs; {apart:.1e} apart"
    )
    return result


if __name__ == "__main__":
    main()
