#!/bin/bash
# Pre-training on several machines under Slurm, one worker per machine. Arguments are flags of semppl-pretrain:
#
#   sbatch --nodes=4 deploy/slurm_pretrain.sh --preset=imagenet_1_percent_resnet50 --workdir=SHARED/run
#
#SBATCH --job-name=semppl
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

port=${SEMPPL_PORT:-2222}
WORKERS=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed "s/.*/\"&:$port\"/" | paste -sd,)
export WORKERS

code=0
srun bash -c '
  export TF_CONFIG="{\"cluster\": {\"worker\": [$WORKERS]}, \"task\": {\"type\": \"worker\", \"index\": $SLURM_NODEID}}"
  exec semppl-pretrain --strategy=multiworker "$@"' semppl-pretrain "$@" || code=$?

# A worker was lost (5), or the time is nearly up (143, after SIGTERM): the run continues from its last checkpoint.
if [ "$code" = 5 ] || [ "$code" = 143 ]; then
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
