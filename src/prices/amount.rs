//! The arithmetic of prices: from what was used to nano-dollars.
//!
//! Owns how parts are told from their whole, so that nothing is charged twice, and rounding: an amount is
//! rounded up once, at its end. Does not handle which price a model has (see `prices`). Cannot fail: sums are
//! of 128 bits and saturate, so that a usage without any sense is the largest amount and never a credit.

use crate::config::{Markup, Rates};
use crate::openai::usage::Usage;

/// What a price of a million tokens is divided by, times what a minute in ms has more: the parts of a
/// nano-dollar that are summed up. It is a multiple of a million and of 60,000.
const PARTS: u128 = 3_000_000;
/// Parts of a nano-dollar in a nano-dollar for a million tokens.
const PARTS_OF_TOKEN: u128 = PARTS / 1_000_000;
/// Parts of a nano-dollar in a nano-dollar for a minute of 60,000 ms.
const PARTS_OF_MS: u128 = PARTS / 60_000;
/// Thousandths of a percent of a whole.
const WHOLE_MILLIPERCENT: u128 = 100_000;

/// An amount that is being summed up, in parts of a nano-dollar.
#[derive(Clone, Copy, Default)]
struct Sum(u128);

impl Sum {
    /// Adds a count of units of a price.
    fn add(&mut self, count: u64, price: u64, parts: u128) {
        let amount = u128::from(count) * u128::from(price);
        self.0 = self.0.saturating_add(amount.saturating_mul(parts));
    }

    fn tokens(&mut self, count: u64, price: u64) {
        self.add(count, price, PARTS_OF_TOKEN);
    }

    /// In nano-dollars, rounded up.
    fn nanos(self) -> u64 {
        u64::try_from(self.0.div_ceil(PARTS)).unwrap_or(u64::MAX)
    }
}

/// A count of tokens from which parts are taken, each once.
struct Whole(u64);

impl Whole {
    /// Takes as many as are left of a part that has a price of its own. A part without one stays in.
    fn take(&mut self, part: u64, price: Option<u64>) -> Option<(u64, u64)> {
        let price = price?;
        let taken = part.min(self.0);
        self.0 -= taken;
        Some((taken, price))
    }
}

impl Rates {
    /// What a usage costs, in nano-dollars.
    ///
    /// Audio and images of the input are taken from the input that was neither read from a cache nor written
    /// to one: a usage does not say which of them was. What of them goes beyond it has the cache's price.
    /// Of the output, audio comes first, then images, then reasoning.
    pub fn cost(&self, usage: &Usage) -> u64 {
        let mut sum = Sum::default();
        let mut input = Whole(usage.input);
        let mut written = Whole(usage.cache_write);
        let mut output = Whole(usage.output);
        let written_price = self.cache_write.unwrap_or(self.input);
        let parts = [
            input.take(usage.input_audio, self.input_audio),
            input.take(usage.input_image, self.input_image),
            written.take(usage.cache_write_1h, self.cache_write_1h),
            output.take(usage.output_audio, self.output_audio),
            output.take(usage.output_image, self.output_image),
            output.take(usage.reasoning, self.reasoning),
        ];
        for (count, price) in parts.into_iter().flatten() {
            sum.tokens(count, price);
        }
        sum.tokens(input.0, self.input);
        sum.tokens(usage.cache_read, self.cached.unwrap_or(self.input));
        sum.tokens(written.0, written_price);
        sum.tokens(output.0, self.output);
        sum.add(usage.audio_ms, self.audio_minute, PARTS_OF_MS);
        sum.add(usage.searches, self.search, PARTS);
        sum.add(1, self.request, PARTS);
        sum.nanos()
    }

    /// The most that so many tokens can cost with one request, in nano-dollars, whatever kinds they turn out
    /// to be. Audio that is priced by its time and searches are not in it: they are not known before.
    pub fn estimate(&self, input_tokens: u64, output_tokens: u64) -> u64 {
        let input = [
            self.cached,
            self.cache_write,
            self.cache_write_1h,
            self.input_audio,
            self.input_image,
        ];
        let output = [self.reasoning, self.output_audio, self.output_image];
        let dearest = |price: u64, parts: &[Option<u64>]| {
            let parts = parts.iter().flatten().copied();
            parts.fold(price, u64::max)
        };
        let mut sum = Sum::default();
        sum.tokens(input_tokens, dearest(self.input, &input));
        sum.tokens(output_tokens, dearest(self.output, &output));
        sum.add(1, self.request, PARTS);
        sum.nanos()
    }
}

impl Markup {
    /// What is charged for a cost, in nano-dollars, rounded up.
    pub fn apply(self, nanos: u64) -> u64 {
        let factor = WHOLE_MILLIPERCENT + u128::from(self.millipercent);
        let charged = (u128::from(nanos) * factor).div_ceil(WHOLE_MILLIPERCENT);
        u64::try_from(charged).unwrap_or(u64::MAX)
    }
}
