# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_vaultlock_global_optspecs
    string join \n store= q/quiet v/verbose h/help V/version
end

function __fish_vaultlock_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_vaultlock_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_vaultlock_using_subcommand
    set -l cmd (__fish_vaultlock_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c vaultlock -n "__fish_vaultlock_needs_command" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_needs_command" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -s h -l help -d 'Print help'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -s V -l version -d 'Print version'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -f -a "run" -d 'Hold the lock while a command runs'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -f -a "acquire" -d 'Hold the lock across the steps of a script, while a process lives; prints a handle'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -f -a "release" -d 'Give back what acquire took'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -f -a "check" -d 'Say whether the lock is still held: 0, or 121'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -f -a "status" -d 'Show who holds locks and who waits'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -f -a "fence" -d 'Run a command unless a fencing number is below a resource\'s high-water mark'
complete -c vaultlock -n "__fish_vaultlock_needs_command" -f -a "completions" -d 'Print a completion script'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s w -l wait -l timeout -d 'Wait at most this long, then end with 75' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s j -l slots -d 'A semaphore: up to N hold the lock together' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l priority -d 'Higher goes first, then first come first served' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l aging -d 'What a step of priority is worth: a run goes before those of a step less that came up to DUR before it [default: 10m]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l max-waiters -d 'End with 75 at once if N wait already' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l supersede -d 'Older runs of the same --group give up with 76' -r -f -a "waiting\t'Those that wait'
running\t'Those that wait, and the one whose job runs'"
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l group -d 'The group of runs that may supersede each other, such as a branch' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l keep -d 'Of the slots keep N for runs of priority PRIO and above' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l rate -d 'Let at most N in within any DUR; other runs keep to it too while it counts' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s E -l conflict-exit-code -d 'The exit code for a lock that is busy' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l ttl -d 'How long the lease outlives its last renewal [default: 30s, or the store\'s max_ttl]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s k -l kill-after -d 'From the stop signal to SIGKILL, when the lease is lost [default: 5s, at most a quarter of the ttl]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l signal -d 'The stop signal, by name or number' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l max-run -d 'Stop the job after this long, and end with 124; 0 for no limit' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l label -d 'Shown to whoever waits, such as a CI job\'s URL [default: user@host and the command\'s name]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l stragglers -d 'What becomes of processes the job leaves behind when it ends by itself' -r -f -a "leave\t'They run on without the lock, which is said once'
wait\t'The lock is kept until the last of them has ended'
kill\t'They are killed'"
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l if-unavailable -d 'What to do if the store can\'t be reached before the start' -r -f -a "fail\t'End with 125'
skip\t'End with 0, the job was not run'
run\t'Run the job without the lock, and say so'"
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l guard -d 'Raise FILE\'s high-water mark (see vaultlock fence) to the run\'s fence before the job starts' -r -F
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s c -l command -d 'Run STRING through the shell ($SHELL, else /bin/sh) in place of COMMAND' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s n -l nonblock -l nb -d 'Do not wait: end with 75 at once if the lock is busy; the same as -w 0'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s s -l shared -d 'Hold the lock together with others that share it; a waiting writer holds back later readers'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s x -l exclusive -d 'Hold the lock alone (the default)'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l preempt -d 'Ask holders of a lower priority to stop: their jobs are ended as if the lease were lost (121)'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -l isolate -d 'Run the job in a PID namespace of its own: nothing it starts can outlive it'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s w -l wait -l timeout -d 'Wait at most this long, then end with 75' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s j -l slots -d 'A semaphore: up to N hold the lock together' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l priority -d 'Higher goes first, then first come first served' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l aging -d 'What a step of priority is worth: a run goes before those of a step less that came up to DUR before it [default: 10m]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l max-waiters -d 'End with 75 at once if N wait already' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l supersede -d 'Older runs of the same --group give up with 76' -r -f -a "waiting\t'Those that wait'
running\t'Those that wait, and the one whose job runs'"
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l group -d 'The group of runs that may supersede each other, such as a branch' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l keep -d 'Of the slots keep N for runs of priority PRIO and above' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l rate -d 'Let at most N in within any DUR; other runs keep to it too while it counts' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s E -l conflict-exit-code -d 'The exit code for a lock that is busy' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l ttl -d 'How long the lease outlives its last renewal [default: 30s, or the store\'s max_ttl]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s k -l kill-after -d 'From the stop signal to SIGKILL, when the lease is lost [default: 5s, at most a quarter of the ttl]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l signal -d 'The stop signal, by name or number' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l max-run -d 'Stop the job after this long, and end with 124; 0 for no limit' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l label -d 'Shown to whoever waits, such as a CI job\'s URL [default: user@host and the command\'s name]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l while-pid -d 'Keep the lock while this process lives, such as the shell of the script: $$ [default: the parent, on a terminal]' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l on-loss -d 'What to do to that process if the lease is lost' -r -f -a "stop\t'It gets the stop signal, then SIGKILL, and is dead before anyone else gets the lock'
tell\t'It runs on; vaultlock check tells'"
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s n -l nonblock -l nb -d 'Do not wait: end with 75 at once if the lock is busy; the same as -w 0'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s s -l shared -d 'Hold the lock together with others that share it; a waiting writer holds back later readers'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s x -l exclusive -d 'Hold the lock alone (the default)'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -l preempt -d 'Ask holders of a lower priority to stop: their jobs are ended as if the lease were lost (121)'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand acquire" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand release" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand release" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand release" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand release" -s h -l help -d 'Print help'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand check" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand check" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand check" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand check" -s h -l help -d 'Print help'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand status" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand status" -l json -d 'Print JSON: one object a lock, in a list unless one NAME was given'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand status" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand status" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand status" -s h -l help -d 'Print help'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand fence" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand fence" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand fence" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand fence" -s h -l help -d 'Print help'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand completions" -l store -d 'Where the lock lives: file:///dir or a path, redis://, rediss://, redis+unix://, postgres://, etcd:// or etcds://. Else $VAULTLOCK_STORE, else the file store of this user' -r
complete -c vaultlock -n "__fish_vaultlock_using_subcommand completions" -s q -l quiet -d 'Say nothing but errors'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand completions" -s v -l verbose -d 'Say more: who is waited for, when a store does not answer'
complete -c vaultlock -n "__fish_vaultlock_using_subcommand completions" -s h -l help -d 'Print help'
