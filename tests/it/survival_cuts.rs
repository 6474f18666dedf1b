//! Which of the things that a power cut may do are tried.

use std::collections::HashMap;

use crate::survival_disk::{Fate, PowerCuts};
use crate::survival_seed::Random;

/// Fates for everything pending at a moment: all combinations of what lies where promises lie; what lies with the
/// temporaries and uploads, which nobody relies on, by chance where there are too many. `each` is how many of one
/// moment are too many.
pub fn combinations(cuts: &PowerCuts, moment: usize, each: usize, random: &mut Random) -> Vec<HashMap<usize, Fate>> {
    let pending = cuts.pending(moment);
    let (volatile, promised): (Vec<_>, Vec<_>) = pending.into_iter().partition(|(at, _)| {
        let directory = cuts.directory_of(*at);
        directory.starts_with("regatta/v1/tmp") || directory.starts_with("regatta/v1/uploads")
    });
    let size = |ops: &[(usize, &[Fate])]| ops.iter().try_fold(1_usize, |all, (_, fates)| all.checked_mul(fates.len()));
    let everything: Vec<_> = promised.iter().chain(&volatile).copied().collect();
    let chosen = |number: Option<usize>, ops: &[(usize, &'static [Fate])], random: &mut Random| {
        let mut number = number;
        let fates = ops.iter().map(|(at, fates)| {
            let choice = match &mut number {
                Some(rest) => {
                    let choice = *rest % fates.len();
                    *rest /= fates.len();
                    choice
                }
                None => random.below(fates.len()),
            };
            (*at, fates[choice])
        });
        fates.collect::<HashMap<_, _>>()
    };
    let within = |size: Option<usize>| size.filter(|size| *size <= each);
    if let Some(all) = within(size(&everything)) {
        return (0..all).map(|number| chosen(Some(number), &everything, random)).collect();
    }
    if let Some(all) = within(size(&promised)) {
        let each = (0..all).map(|number| {
            let mut fates = chosen(Some(number), &promised, random);
            fates.extend(chosen(None, &volatile, random));
            fates
        });
        return each.collect();
    }
    let uniform = |fate: usize| everything.iter().map(|(at, fates)| (*at, fates[fate.min(fates.len() - 1)])).collect();
    let by_chance = (0..each).map(|_| chosen(None, &everything, random));
    [uniform(0), uniform(usize::MAX)].into_iter().chain(by_chance.collect::<Vec<_>>()).collect()
}
