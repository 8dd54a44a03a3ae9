//! Finding the smallest plan that still fails in the same way. A pure search: whoever calls it runs the plans.

use super::subject::Subject;

/// The smallest plan found.
pub struct Shrunk<P> {
    /// It still fails.
    pub plan: P,
    /// How many plans were tried.
    pub tried: usize,
    /// Whether nothing more can be left out, rather than that the tries were used up.
    pub least: bool,
}

/// Leaves out as much of `plan`, which fails, as it can while `fails` says that the rest still does, trying at most `most` plans.
pub fn shrink<S: Subject>(
    subject: &S,
    plan: &S::Plan,
    most: usize,
    mut fails: impl FnMut(&S::Plan) -> bool,
) -> Shrunk<S::Plan> {
    let mut search = Search {
        subject,
        plan: plan.clone(),
        left: most,
        fails: &mut fails,
    };
    let mut least = search.shorten();
    let mut size = subject.events(&search.plan).div_ceil(2);
    while size > 0 {
        let Some(smaller) = search.leave_out_runs_of(size) else {
            least = false;
            break;
        };
        size = match size {
            // What is left out can make room for leaving out more.
            1 if smaller => 1,
            _ => size / 2,
        };
    }
    let least = least && search.shorten();
    Shrunk {
        plan: search.plan,
        tried: most - search.left,
        least,
    }
}

struct Search<'a, S: Subject> {
    subject: &'a S,
    plan: S::Plan,
    left: usize,
    fails: &'a mut dyn FnMut(&S::Plan) -> bool,
}

impl<S: Subject> Search<'_, S> {
    /// Takes a plan over if it fails as well; `None` when no try is left.
    fn adopt(&mut self, plan: S::Plan) -> Option<bool> {
        self.left = self.left.checked_sub(1)?;
        let fails = (self.fails)(&plan);
        if fails {
            self.plan = plan;
        }
        Some(fails)
    }

    /// Gives it less and less to do. `false` when the tries ran out.
    fn shorten(&mut self) -> bool {
        while let Some(shorter) = self.subject.shorter(&self.plan) {
            match self.adopt(shorter) {
                Some(true) => {}
                Some(false) => break,
                None => return false,
            }
        }
        true
    }

    /// Tries to do without each run of `size` events, and says whether any could go; `None` when the tries ran out.
    fn leave_out_runs_of(&mut self, size: usize) -> Option<bool> {
        let mut any = false;
        // From the end, as what comes late depends on what came before, and not the other way round.
        let mut end = self.subject.events(&self.plan);
        while end > 0 {
            let begin = end.saturating_sub(size);
            let kept: Vec<bool> = (0..self.subject.events(&self.plan))
                .map(|event| event < begin || event >= end)
                .collect();
            any |= self.adopt(self.subject.keep(&self.plan, &kept))?;
            end = begin;
        }
        Some(any)
    }
}

#[cfg(test)]
mod tests {
    use super::super::subject::Report;
    use super::*;

    struct Numbers;

    impl Subject for Numbers {
        type Plan = Vec<u64>;

        fn draw(&self, seed: u64) -> Vec<u64> {
            (0..seed).collect()
        }

        fn events(&self, plan: &Vec<u64>) -> usize {
            plan.len()
        }

        fn keep(&self, plan: &Vec<u64>, kept: &[bool]) -> Vec<u64> {
            let kept = plan.iter().zip(kept).filter(|(_, kept)| **kept);
            kept.map(|(number, _)| *number).collect()
        }

        fn run(&self, _: u64, _: &Vec<u64>, _: Option<&str>) -> Report {
            Report::default()
        }
    }

    #[test]
    fn the_one_event_that_matters_is_found_in_few_tries() {
        for culprit in [0, 17, 63, 99] {
            let found = shrink(&Numbers, &Numbers.draw(100), 100, |plan| plan.contains(&culprit));
            assert_eq!(found.plan, [culprit]);
            assert!(found.least && found.tried < 40, "{} tries", found.tried);
        }
    }

    #[test]
    fn two_events_that_matter_together_are_both_kept() {
        let both = |plan: &Vec<u64>| plan.contains(&3) && plan.contains(&88);
        assert_eq!(shrink(&Numbers, &Numbers.draw(100), 200, both).plan, [3, 88]);
    }

    #[test]
    fn a_plan_that_fails_without_events_loses_them_all() {
        assert_eq!(shrink(&Numbers, &Numbers.draw(9), 100, |_| true).plan, [0; 0]);
    }

    #[test]
    fn the_tries_are_bounded_and_what_was_found_by_then_still_fails() {
        let fails = |plan: &Vec<u64>| plan.iter().filter(|number| *number % 2 == 1).count() >= 20;
        let found = shrink(&Numbers, &Numbers.draw(100), 15, fails);
        assert!(!found.least && found.tried == 15 && fails(&found.plan));
    }
}
