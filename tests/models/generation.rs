//! Generated text against the full forward pass, alone and beside others.

use underdog::{
    data::Example,
    infer::{Next, Request, Sampling, Slots, SlotsPlan},
};

use crate::{common::gpu, support::*};

fn slots(case: &str, slots: usize, capacity: usize) -> Slots<'static> {
    let plan = SlotsPlan::new(config(case), None, slots, capacity, gpu().max_binding()).unwrap();
    plan.load(gpu(), &folder(case), None).unwrap()
}

/// The likeliest next token after each prefix that ends in `from..`, by one forward pass over the whole text.
fn likeliest(case: &str, text: &[u32], from: usize) -> Vec<u32> {
    let example = Example { idx: 0, line: 1, ids: text.to_vec(), trained: vec![true; text.len()] };
    let forward = forward(case, &rows(&[example], text.len())[0]);
    let best = |logits: &Vec<f32>| {
        let best = logits.iter().enumerate().fold(0, |best, (i, z)| if *z > logits[best] { i } else { best });
        best as u32
    };
    forward.logits[from..].iter().map(best).collect()
}

/// One request a prompt, each with a seed of its own, greedy and of up to `most` tokens.
fn requests(prompts: &[Vec<u32>], seed: u64, most: usize) -> Vec<Request> {
    let request =
        |(seed, prompt): (u64, &Vec<u32>)| Request { prompt: prompt.clone(), seed, sampling: Sampling::GREEDY, most };
    (seed..).zip(prompts).map(request).collect()
}

fn all(slots: &mut Slots<'_>, requests: &[Request]) -> Vec<Vec<u32>> {
    slots.generate(requests, &[], |_, _| Next::More).unwrap()
}

/// Texts of 1, 29 and 150 tokens: none, some and several fillings of the cache before the first new token.
fn prompts(case: &str) -> Vec<Vec<u32>> {
    let ids: Vec<u32> = Golden::open(case).examples().iter().flat_map(|example| example.ids.clone()).collect();
    [1, 29, 150].iter().map(|n| ids.iter().cycle().skip(4).take(*n).copied().collect()).collect()
}

#[test]
fn greedy_text_is_what_the_full_forward_pass_says() {
    for case in FAMILIES {
        let prompts = prompts(case);
        let together = all(&mut slots(case, 3, 170), &requests(&prompts, 0, 12));
        let mut one = slots(case, 1, 170);
        for (prompt, written) in prompts.iter().zip(&together) {
            assert_eq!(written.len(), 12);
            let text = [&prompt[..], written].concat();
            let want = likeliest(case, &text[..text.len() - 1], prompt.len() - 1);
            assert_eq!(written, &want, "{case}, a prompt of {}", prompt.len());
            let alone = all(&mut one, &requests(std::slice::from_ref(prompt), 0, 12));
            assert_eq!(&alone[0], written, "{case}, a prompt of {}, alone", prompt.len());
        }
    }
}

#[test]
fn text_ends_where_it_should() {
    let case = "llama3";
    let prompts = prompts(case)[..2].to_vec();
    // A token that is written need not fit: only tokens that were read lie in the cache.
    let full = all(&mut slots(case, 2, 32), &requests(&prompts, 0, 100));
    assert_eq!(full.iter().map(Vec::len).collect::<Vec<_>>(), [32, 4]);

    let stop = full[1][2];
    let first = |text: &[u32]| text.iter().position(|token| *token == stop).map_or(text.len(), |at| at + 1);
    let mut seen = vec![Vec::new(); 2];
    let read = |request: usize, token| {
        seen[request].push(token);
        Next::More
    };
    let stopped = slots(case, 2, 32).generate(&requests(&prompts, 0, 100), &[stop], read).unwrap();
    let want: Vec<&[u32]> = full.iter().map(|text| &text[..first(text)]).collect();
    assert_eq!(stopped, want, "a stopped text must not disturb the other");
    assert_eq!(seen, stopped);

    let few = all(&mut slots(case, 2, 32), &requests(&prompts, 0, 2));
    assert_eq!(few, full.iter().map(|text| &text[..2]).collect::<Vec<_>>());
    let cut = slots(case, 2, 32).generate(&requests(&prompts, 0, 100), &[], |_, _| Next::Stop).unwrap();
    assert_eq!(cut, [vec![full[0][0]], vec![]]);
}

#[test]
fn draws_depend_on_the_seed_and_the_text_alone() {
    let case = "qwen3";
    let prompts = prompts(case);
    let drawn = |seed| -> Vec<Request> {
        let mut requests = requests(&prompts, seed, 8);
        requests.iter_mut().for_each(|request| request.sampling.temperature = 1.0);
        requests
    };
    let mut slots = slots(case, 3, 170);
    let together = all(&mut slots, &drawn(1));
    assert_eq!(together, all(&mut slots, &drawn(1)));
    assert_ne!(together, all(&mut slots, &drawn(11)));
    for (request, text) in drawn(1).into_iter().zip(&together) {
        assert_eq!(all(&mut slots, &[request]), std::slice::from_ref(text), "drawn alone");
    }
}

#[test]
fn a_text_ends_alone_when_its_reader_says_so() {
    let case = "llama3";
    let prompts = prompts(case)[..2].to_vec();
    let full = all(&mut slots(case, 2, 64), &requests(&prompts, 0, 10));
    let mut seen = 0;
    let read = |request, _| {
        seen += usize::from(request == 0);
        if request == 0 && seen == 3 { Next::End } else { Next::More }
    };
    let ended = slots(case, 2, 64).generate(&requests(&prompts, 0, 10), &[], read).unwrap();
    assert_eq!(ended, [full[0][..3].to_vec(), full[1].clone()]);
}

#[test]
fn a_slot_is_free_again_when_its_text_ends() {
    let case = "qwen3";
    let prompts = prompts(case);
    let requests = requests(&prompts, 0, 6);
    let mut slots = slots(case, 2, 170);
    let alone: Vec<Vec<u32>> =
        requests.iter().map(|request| all(&mut slots, std::slice::from_ref(request)).remove(0)).collect();
    assert_eq!(all(&mut slots, &requests), alone, "three texts in two slots");

    // One text joins while another is being written, in the place of a third.
    let mut written = vec![Vec::new(); 3];
    let mut of_slot = [0, 1];
    assert_eq!([0, 1].map(|i: usize| slots.admit(requests[i].clone())), [Some(0), Some(1)]);
    assert_eq!(slots.admit(requests[2].clone()), None, "there are two slots");
    for step in 0..9 {
        if step == 3 {
            slots.evict(0);
            assert_eq!(slots.admit(requests[2].clone()), Some(0));
            of_slot[0] = 2;
        }
        for one in slots.step().unwrap() {
            let text = &mut written[of_slot[one.slot]];
            text.push(one.token);
            assert_eq!(one.is_last, text.len() == 6);
        }
    }
    assert_eq!(written, [alone[0][..3].to_vec(), alone[1].clone(), alone[2].clone()]);
}
