//! One amount of a quota: tokens or money.
//!
//! Owns what is spent and reserved of it, and the thresholds that were told. Does not handle its period (see
//! `balance`). Cannot fail: what would overflow saturates, and that admits less.

#[derive(Debug)]
pub(super) struct Amount {
    pub(super) limit: Option<u64>,
    pub(super) spent: u64,
    pub(super) reserved: u64,
    /// The highest threshold that was told in this period, in percent.
    told: u8,
}

impl Amount {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self {
            limit,
            spent: 0,
            reserved: 0,
            told: 0,
        }
    }

    pub(super) fn begin(&mut self) {
        *self = Self::new(self.limit);
    }

    pub(super) fn change_limit(&mut self, limit: Option<u64>) {
        if self.limit != limit {
            self.limit = limit;
            // The shares of another limit are other thresholds.
            self.told = 0;
        }
    }

    pub(super) fn spend(&mut self, used: u64) {
        self.spent = self.spent.saturating_add(used);
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.limit.is_some_and(|limit| self.spent >= limit)
    }

    /// Tells the thresholds that are reached and were not told: those given, and 100 %.
    pub(super) fn tell(&mut self, thresholds: &[u8], one: impl FnMut(u8, u64, u64)) {
        let limit = self.limit.unwrap_or(u64::MAX);
        let is_reached =
            |percent: &u8| u128::from(self.spent) * 100 >= u128::from(limit) * u128::from(*percent);
        let all = thresholds.iter().copied().chain([100]);
        let highest = all.filter(is_reached).max();
        self.reach(thresholds, highest.unwrap_or(0).min(100), one);
    }

    /// Tells the thresholds up to one that was reached and were not told: those given, and 100 %.
    pub(super) fn reach(
        &mut self,
        thresholds: &[u8],
        reached: u8,
        mut one: impl FnMut(u8, u64, u64),
    ) {
        let Some(limit) = self.limit else {
            return;
        };
        let below = thresholds.iter().copied().filter(|percent| *percent < 100);
        for percent in below.chain([100]) {
            if percent <= reached && percent > self.told {
                self.told = percent;
                one(percent, self.spent, limit);
            }
        }
    }
}
