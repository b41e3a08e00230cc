# Completion of ci-egress in fish, from a folder of completions or by `source`.

function __ci_egress
    set -l words (commandline -opc)
    if set -l dashes (contains -i -- -- $words)
        __ci_egress_command $dashes
        return
    end
    set -l option (string match --regex -- '^--[^=]*=' (commandline -ct))
    for line in (env COMP_WORDS="$(commandline -cp)" COMP_CWORD=(commandline -ct) $words[1] completion fish --answer 2>/dev/null)
        set -l told (string split -m 1 , -- $line)
        switch $told[1]
            case dir
                printf "$option%s\n" (__fish_complete_directories $told[2])
            case file
                printf "$option%s\n" (__fish_complete_path $told[2])
            case command
                __ci_egress_command (count $words)
            case plain
                printf "$option%s\n" $told[2]
        end
    end
end

# What is traced begins behind word $argv[1], and has a completion of its own.
function __ci_egress_command
    set -l words (commandline -opc)
    complete -C (string join ' ' -- (string escape -- $words[(math $argv[1] + 1)..-1]) (commandline -ct))
end

complete --command ci-egress --no-files --arguments '(__ci_egress)'
