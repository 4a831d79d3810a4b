# How jobs are started: [JOB=1:N] LOG COMMAND... Any launcher with the interface of Kaldi's run.pl
# can take the place of launch.sh, for example: cuda_cmd="slurm.pl --gpu 1".
train_cmd=../../recipes/common/launch.sh
decode_cmd=../../recipes/common/launch.sh
cuda_cmd=../../recipes/common/launch.sh
