# Famille « host ». Un message par motif : son code, où « . » et « _ » deviennent « - ».

cpu-ok = processeur occupé à {$used_permille}
cpu-busy = processeur occupé à {$used_permille}, limite {$limit_permille}
cpu-first = première lecture du processeur, trop courte pour juger

memory-ok = mémoire occupée à {$used_permille}
memory-low = mémoire occupée à {$used_permille}, limite {$limit_permille} ; il reste {$available_bytes}
memory-swap = mémoire d'échange (swap) occupée à {$swap_used_permille}, limite {$limit_permille}

load-ok = charge {$load_milli} par processeur ({$cpus ->
    [one] {$cpus} processeur
   *[other] {$cpus} processeurs
})
load-high = charge {$load_milli} par processeur, limite {$limit_milli} ({$cpus ->
    [one] {$cpus} processeur
   *[other] {$cpus} processeurs
})

filesystem-ok = {$with_used_permille ->
    [yes] disque rempli à {$used_permille}
   *[no] aucun autre système de fichiers
}
filesystem-full = disque rempli à {$used_permille}, limite {$limit_permille} ; il reste {$available_bytes}
filesystem-inodes = inodes utilisés à {$inodes_used_permille}, limite {$limit_permille}
filesystem-stuck = le système de fichiers ne répond plus depuis {$since_ms}
filesystem-read-only = passé en lecture seule
filesystem-missing = pas monté, alors qu'il devrait l'être

host-unreadable = {$source ->
    [statvfs] le système de fichiers ne dit pas son remplissage
    [autofs] montage automatique, absent tant que personne ne s'en sert
    [sandbox] le bac à sable de l'agent cache ce système de fichiers
   *[other] la machine ne laisse pas lire {$source}
}{$with_errno ->
    [yes] {" "}(erreur {$errno})
   *[no] {""}
} : rien n'est mesuré
