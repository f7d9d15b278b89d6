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

unit-active = en service{$with_since ->
    [yes] {" "}depuis le {$since}
   *[no] {""}
}{$with_restarts ->
    [yes] {" "}({$restarts ->
        [one] {$restarts} redémarrage récent
       *[other] {$restarts} redémarrages récents
    })
   *[no] {""}
}
unit-done = {$with_since ->
    [yes] dernière exécution réussie, le {$since}
   *[no] rien à faire, et rien n'a échoué
}
unit-changing = {$state ->
    [activating] en cours de démarrage
    [deactivating] en cours d'arrêt
    [reloading] en cours de rechargement
   *[other] en cours de changement
}{$with_since ->
    [yes] {" "}depuis le {$since}
   *[no] {""}
}
unit-failed = en échec{$result ->
    [exit-code] {" "}(son programme a fini en erreur)
    [signal] {" "}(tuée par un signal)
    [core-dump] {" "}(plantage)
    [timeout] {" "}(démarrage ou arrêt trop long)
    [watchdog] {" "}(chien de garde non nourri)
    [start-limit-hit] {" "}(redémarrée trop souvent)
    [oom-kill] {" "}(tuée faute de mémoire)
    [resources] {" "}(ressources manquantes)
    [protocol] {" "}(autre chose que ce que systemd attendait)
   *[other] {""}
}{$with_since ->
    [yes] {" "}depuis le {$since}
   *[no] {""}
}
unit-inactive = arrêtée, alors qu'elle devrait tourner{$with_since ->
    [yes] , depuis le {$since}
   *[no] {""}
}
unit-restarting = {$with_restarts ->
    [yes] {$restarts ->
        [one] {$restarts} redémarrage
       *[other] {$restarts} redémarrages
    } en {$within_ms}
   *[no] attend d'être redémarrée
}
unit-missing = systemd ne connaît pas cette unité
unit-no-bus = systemd ne répond pas sur D-Bus : rien n'est mesuré

process-ok = {$count} processus
process-few = {$count ->
    [0] aucun processus
   *[other] {$count} processus
}, il en faut au moins {$limit}
process-many = {$count} processus, il en faut au plus {$limit}

network-ok = lien établi{$with_errors_permille ->
    [yes] , {$errors_permille} de paquets en erreur et {$drops_permille} de paquets jetés
   *[no] {""}
}
network-down = pas de lien
network-missing = l'interface n'est pas là
network-errors = {$errors ->
    [one] {$errors} paquet en erreur
   *[other] {$errors} paquets en erreur
} ({$errors_permille}), limite {$limit_permille}
network-drops = {$drops ->
    [one] {$drops} paquet jeté
   *[other] {$drops} paquets jetés
} ({$drops_permille}), limite {$limit_permille}
network-watched = {$interfaces ->
    [0] aucune interface réseau à regarder
    [one] {$interfaces} interface réseau
   *[other] {$interfaces} interfaces réseau
}{$with_skipped ->
    [yes] , {$skipped} laissées de côté pour leur nom
   *[no] {""}
}

admin-ok = conforme à l'état accepté ({$count})
admin-learned = premier relevé, {$count} pris comme état accepté
admin-removed = {$removed} de moins que l'état accepté (il en reste {$count})
admin-added = {$added} de plus{$with_removed ->
    [yes] , {$removed} de moins
   *[no] {""}
} que l'état accepté ({$count} à présent){$with_unreadable ->
    [yes] ; {$unreadable} illisibles
   *[no] {""}
}
admin-unreadable = {$unreadable} endroits qui donnent des droits d'administration ne se laissent pas lire ({$count} trouvés ailleurs)
admin-no-baseline = l'état accepté ne se laisse pas lire ou garder ({$count} trouvés) : un changement passerait inaperçu

clock-ok = horloge juste ({$source}{$with_offset_us ->
    [yes] , écart {$offset_us} microsecondes
   *[no] {""}
})
clock-offset = horloge décalée de {$offset_ms}, limite {$limit_ms} ({$source})
clock-unsynchronised = horloge non synchronisée{$with_for_ms ->
    [yes] {" "}depuis {$for_ms}, limite {$limit_ms}
   *[no] {""}
} ({$source})
clock-no-source = aucune source de temps ne répond{$with_since ->
    [yes] {" "}depuis le {$since}
   *[no] {""}
} ; l'horloge passe encore pour juste ({$source})
clock-silent = {$source} tourne et ne dit pas l'état de l'horloge
clock-offset-untold = horloge synchronisée, mais {$source} ne dit pas son écart, et une limite est écrite
clock-untold = ni chrony ni systemd ne disent si l'horloge est synchronisée

log-ok = {$writer} écrit le journal{$with_silent_ms ->
    [yes] , dernière ligne il y a {$silent_ms}
   *[no] {""}
}{$with_oldest ->
    [yes] , gardé depuis le {$oldest}
   *[no] {""}
}
log-stopped = {$writer} ne tourne pas : rien n'est journalisé
log-silent = {$writer} n'a rien écrit depuis {$silent_ms}, limite {$limit_ms}
log-short = le journal de {$writer} ne remonte qu'à {$kept_ms}, {$limit_ms} voulus
log-volatile = le journal de {$writer} n'est qu'en mémoire, {$limit_ms} voulus
log-untold = {$writer ->
    [queue] la file des lignes à transmettre n'est pas visible
    [target] rien ne dit si le destinataire du journal est connecté
   *[other] le journal de {$writer} n'est pas visible
}{$with_errno ->
    [yes] {" "}(erreur {$errno})
   *[no] {""}
}
log-queue-ok = {$queue_bytes} de journal attendent d'être transmis
log-queue = {$queue_bytes} de journal attendent d'être transmis depuis {$queue_age_ms}{$with_limit_ms ->
    [yes] , limite {$limit_ms}
   *[no] {""}
}{$with_limit_bytes ->
    [yes] , limite {$limit_bytes}
   *[no] {""}
}
log-connected = connecté au destinataire du journal
log-disconnected = pas connecté au destinataire du journal

updates-ok = {$pending ->
    [0] aucune mise à jour de sécurité en attente
    [one] {$pending} mise à jour de sécurité en attente
   *[other] {$pending} mises à jour de sécurité en attente
}{$with_age_ms ->
    [yes] {" "}depuis au moins {$age_ms}
   *[no] {""}
}
updates-pending = {$pending ->
    [one] {$pending} mise à jour de sécurité en attente
   *[other] {$pending} mises à jour de sécurité en attente
} depuis au moins {$age_ms}, limite {$limit_ms}
updates-lists-old = listes de paquets {$with_expired ->
    [yes] périmées depuis le {$expired} : le miroir n'offre rien de plus récent
   *[no] vieilles de {$lists_age_ms}, limite {$limit_ms} : personne n'a cherché de mises à jour
} ; {$pending} connues en attente
updates-reboot-none = pas de redémarrage nécessaire
updates-reboot = redémarrage nécessaire{$with_age_ms ->
    [yes] {" "}depuis {$age_ms}
   *[no] {""}
}{$with_limit_ms ->
    [yes] , limite {$limit_ms}
   *[no] {""}
}
updates-supported = version maintenue jusqu'au {$until}
updates-end-soon = plus de mises à jour de sécurité pour cette version après le {$until} (encore {$left_ms})
updates-ended = plus de mises à jour de sécurité pour cette version depuis le {$until}
updates-untold = {$source ->
    [no_security_suite] aucune source de sécurité parmi les listes de paquets : personne ne verrait une mise à jour
    [no_advisories] les dépôts ne portent pas d'avis de sécurité : personne ne sait quelle mise à jour en est une
    [list_format] une liste de paquets est compressée d'une façon qui n'est pas lue ici
    [distribution] les mises à jour de cette distribution ne se lisent pas
    [release] la fin de maintenance de cette version n'est pas connue
    [kernel] le noyau qui tourne n'est aucun de ceux installés dans /boot
    [boot] les noyaux de /boot ne sont pas visibles
    [dnf] dnf ne dit pas les avis de sécurité
   *[other] {$source} ne se laisse pas lire
}{$with_errno ->
    [yes] {" "}(erreur {$errno})
   *[no] {""}
}
